"""Everything that goes out: messages by lanes, so that a slow channel delays no other, actions that were agreed to, buttons, the heartbeat."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from alerts.actions.channel import Actions
from alerts.channels.channel import Channel
from alerts.channels.hosts import own_host
from alerts.channels.post import Poster
from alerts.channels.slack_socket import SlackSocket
from alerts.deliver import Delivery, Lane
from alerts.loops import repeat
from alerts.metrics import AlertMetrics
from alerts.receivers import Receiver
from alerts.settings import AlertsSettings, make_channels, poster_of, usual_addresses
from alerts.watchdog import Watchdog

TICK_SECONDS = 1.0
DRAIN_SECONDS = 20.0
SOCKET_SECONDS = 30.0
LANES = (Lane(only=("slack",)), Lane(only=("email",)), Lane(only=("action",)), Lane(but=("slack", "email", "action")))

_log = logging.getLogger(__name__)


class Telling:
    """The threads that tell. ``receivers`` are those of the rules in force; channels are made anew when they change."""

    def __init__(
        self,
        engine: Engine,
        settings: AlertsSettings,
        *,
        receivers: Callable[[], tuple[Receiver, ...]],
        evaluated_at: Callable[[], datetime | None],
        owner: str,
        metrics: AlertMetrics,
        clock: Callable[[], datetime],
        stop: threading.Event,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._receivers = receivers
        self._evaluated_at = evaluated_at
        self._metrics = metrics
        self._clock = clock
        self._stop = stop
        self._known: tuple[Receiver, ...] = receivers()
        self._actions, channels = self._channels()
        self._deliveries = [
            Delivery(
                engine,
                channels,
                usual=usual_addresses(settings),
                owner=f"{owner}/{number}",
                metrics=metrics,
                clock=clock,
                pause=stop.wait,
                lane=lane,
            )
            for number, lane in enumerate(LANES)
        ]
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begins to tell, each lane in a thread of its own."""
        for number, delivery in enumerate(self._deliveries):
            self._begin(f"delivery {number}", lambda delivery=delivery: self._send(delivery), "send messages")  # type: ignore[misc]
        self._begin("actions", self._act, "carry out actions")
        if self._settings.heartbeat_url.get_secret_value():
            watchdog = self._watchdog()
            self._begin("heartbeat", lambda: self._beat(watchdog), "send the heartbeat")
        if self._settings.slack_app_token.get_secret_value():
            self._begin("buttons", self._listen, "listen to Slack's buttons")

    def join(self) -> None:
        """Waits for what is on its way, for a while."""
        deadline = time.monotonic() + DRAIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _begin(self, name: str, work: Callable[[], float], what: str) -> None:
        thread = threading.Thread(target=repeat, args=(work, self._stop, what), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    # ------------------------------------------------------------------------------------------ channels

    def _channels(self) -> tuple[Actions, dict[str, Channel]]:
        """The channels of the settings and of the receivers that are known."""
        wanted = {receiver.name: receiver.actions for receiver in self._known if receiver.actions}
        actions = Actions(
            wanted, self._engine, poster_of(self._settings), allow_commands=self._settings.action_commands, clock=self._clock
        )
        channels = make_channels(self._settings, self._known)
        return actions, channels | ({actions.name: actions} if wanted else {})

    def _follow_rules(self) -> None:
        """Makes the channels anew where the rules have other receivers now."""
        present = self._receivers()
        if present is self._known or present == self._known:
            return
        self._known = present
        self._actions, channels = self._channels()
        for delivery in self._deliveries:
            delivery.use(channels)

    # ------------------------------------------------------------------------------------------ work

    def _send(self, delivery: Delivery) -> float:
        return 0.0 if delivery.deliver_next() else TICK_SECONDS

    def _act(self) -> float:
        self._follow_rules()
        self._actions.run_confirmed()
        return TICK_SECONDS

    def _watchdog(self) -> Watchdog:
        url = self._settings.heartbeat_url.get_secret_value()
        poster = Poster(policy=own_host(url), ca_file=self._settings.webhook_ca_file)
        return Watchdog(
            self._engine,
            url,
            poster,
            within=self._settings.heartbeat_within,
            evaluated_at=self._evaluated_at,
            clock=self._clock,
        )

    def _beat(self, watchdog: Watchdog) -> float:
        if self._evaluated_at() is not None and watchdog.beat():  # the process that stands by leaves it to the one that judges
            self._metrics.beaten(self._clock())
        return self._settings.heartbeat_interval.total_seconds()

    def _listen(self) -> float:
        """Keeps a socket to Slack open; returns only when told to stop, or to try again."""
        token = self._settings.slack_app_token.get_secret_value()
        socket = SlackSocket(token, api_url=self._settings.slack_api_url, engine=self._engine, clock=self._clock)
        try:
            if problem := socket.open():
                _log.warning("%s.", problem)
                return SOCKET_SECONDS
            self._stop.wait()
            return 0.0
        finally:
            socket.close()
