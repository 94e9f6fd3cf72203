"""Whether a chain keeps twins as we read and write them, judged by its metadata (spec tfchain 2, "Across versions").

The version of the runtime alone does not tell. Pure: the library's metadata object comes in, nothing is asked.
"""

from typing import Any

TWIN_FIELDS = ("id", "account_id", "relay", "entities", "pk")
CALLS = ("create_twin", "update_twin", "user_accept_tc")
PALLET = "TfgridModule"


def wrong_with(metadata: Any) -> str | None:
    """What is wrong with a chain; `None` when it is tfchain with relays.

    Args:
        metadata: the decoded `MetadataVersioned` of its runtime.
    """
    if metadata.portable_registry is None:
        return "its runtime does not describe its types: it is too old"
    pallet = metadata.get_metadata_pallet(PALLET)
    if pallet is None:
        return f"its runtime has no {PALLET}"
    storage = {item.value["name"]: item.value["type"] for item in pallet.storage or ()}
    if "Twins" not in storage or "TwinIdByAccountID" not in storage:
        return f"its {PALLET} keeps no twins"
    twin = _definition(metadata, storage["Twins"].get("Map", {}).get("value")).get("composite", {})
    fields = tuple(str(field["name"]) for field in twin.get("fields", ()))
    if fields != TWIN_FIELDS:
        return f"it keeps twins in another form ({', '.join(fields) or 'unknown'}): it is too old, or too new"
    calls = _definition(metadata, (pallet.value["calls"] or {}).get("ty")).get("variant", {})
    missing = set(CALLS) - {call["name"] for call in calls.get("variants", ())}
    return f"its {PALLET} lacks {', '.join(sorted(missing))}" if missing else None


def _definition(metadata: Any, type_name: Any) -> dict[str, Any]:
    """What a type consists of; empty when there is no such type. Types are named by number or `scale_info::number`."""
    number = str(type_name).removeprefix("scale_info::")
    for entry in metadata.portable_registry["types"].value:
        if str(entry["id"]) == number:
            found = entry["type"]["def"]
            return found if isinstance(found, dict) else {}
    return {}
