"""What an alert can have done instead of only told: a rollback, a promotion, other weights, a webhook, a command."""
