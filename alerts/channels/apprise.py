"""Everything else, through the library Apprise: Teams, Telegram, Matrix, ntfy, SMS gateways and some hundred more.

Apprise calls whatever its address names: it is as trustworthy as the one who wrote the address, which therefore comes
from the environment or a file of the operator and never from the rules file.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from alerts.channels.channel import Address, Delivered, Fault, NotDelivered
from alerts.channels.secrets import NoSecret, read_secret
from alerts.messages import Kind, Message
from alerts.receivers import Apprise
from alerts.renderings import headline, plain_text

for _name in ("apprise", "urllib3", "requests"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)  # their lines may hold addresses with their secrets


class AppriseServices:
    """Hands each message to Apprise, which knows how the service of its receiver is told."""

    name = "apprise"

    def __init__(self, targets: Mapping[str, Apprise]) -> None:
        self._targets = targets

    def send(self, message: Message, address: Address, *, answers: str | None) -> Delivered:
        """Sends the message as plain text. Apprise only says whether it was taken, so any failure is tried again."""
        target = self._targets.get(address.target)
        if target is None:
            raise NotDelivered(Fault.NOT_CONFIGURED, f"the rules no longer have an Apprise address for {address.target}")
        try:
            url = read_secret(target.url).value
        except NoSecret as error:
            raise NotDelivered(Fault.NOT_CONFIGURED, f"the Apprise address of {address.target} is missing: {error}") from None
        self._notify(message, url, address.target)
        return Delivered()

    def _notify(self, message: Message, url: str, receiver: str) -> None:
        import apprise  # its hundred services are loaded only where somebody uses it

        asset = apprise.AppriseAsset(app_id="modelwatch", app_desc="modelwatch", app_url="", allow_templates=False)
        services = apprise.Apprise(asset=asset)
        if not services.add(url):
            raise NotDelivered(Fault.NOT_CONFIGURED, f"Apprise does not understand the address of {receiver}")
        kind = {Kind.RESOLVED: apprise.NotifyType.SUCCESS, Kind.TEST: apprise.NotifyType.INFO}.get(
            message.kind, apprise.NotifyType.FAILURE if message.severity in ("critical", "page") else apprise.NotifyType.WARNING
        )
        taken = services.notify(
            title=headline(message), body=plain_text(message), notify_type=kind, body_format=apprise.NotifyFormat.TEXT
        )
        if not taken:
            raise NotDelivered(Fault.SERVER_ERROR, f"the service of {receiver} did not take the message (by Apprise)")
