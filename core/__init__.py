"""What every package stands on: settings, time, money, errors, MongoDB, the outbox."""
