"""Which limits count at once when the configuration is read again, and how. See `reload`.

What changes together is taken over together: a rule for admission without its list would send everybody away.
"""

from relay.admission import Admission, read_admission
from relay.certificates import Certificates
from relay.config import RelayConfig
from relay.occupancy import Occupancy
from relay.reload import Reloads
from relay.server import Server
from relay.sessions import Sessions
from relay.twin_rates import Rates, TwinRates

ADMISSION = ("limits.admission", "limits.admit", "limits.admit_file", "limits.ticket_file")
RATES = tuple(f"limits.{name}" for name in ("rate_messages", "rate_bytes", "slow_s_max"))


def admit_again(server: Server, reloads: Reloads[RelayConfig]) -> None:
    """Read who may sign in from what is configured now.

    Raises:
        AdmissionFileBad: a file cannot be used.
    """
    _admit(server, reloads.config)


def reload_limits(
    reloads: Reloads[RelayConfig],
    *,
    rates: TwinRates,
    sessions: Sessions,
    occupancy: Occupancy[str],
    server: Server,
    certificates: Certificates | None,
) -> None:
    """Say who takes which limit over."""
    reloads.on_changes(RATES, lambda config: rates.change(rates_of(config)))
    reloads.on_change("limits.sessions_per_twin", sessions.limit_per_twin)
    reloads.on_change("limits.connections_per_address", lambda most: setattr(occupancy, "most", most))
    reloads.on_changes(ADMISSION, lambda config: _admit(server, config))
    limits = reloads.config.limits
    if limits.admit_file or limits.ticket_file:
        reloads.on_reload("lists of who may sign in", lambda: admit_again(server, reloads))
    if certificates is not None:
        reloads.on_reload("certificate", certificates.reload)


def rates_of(config: RelayConfig) -> Rates:
    """How fast twins may send."""
    limits = config.limits
    return Rates(limits.rate_messages, limits.rate_bytes, limits.slow_s_max)


def admission_of(config: RelayConfig) -> Admission:
    """Who may sign in; files are read now.

    Raises:
        AdmissionFileBad: a file cannot be used.
    """
    limits = config.limits
    return read_admission(limits.admission, limits.admit, limits.admit_file, limits.ticket_file)


def _admit(server: Server, config: RelayConfig) -> None:
    server.admit(admission_of(config))
