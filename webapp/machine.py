"""What of this machine engines may use: its settings, and what the driver says of its devices."""

from collections.abc import Mapping

import pynvml

from webapp.catalog import Catalog, read_catalog
from webapp.device_search import FoundDevices, find_devices
from webapp.placement import Machine
from webapp.settings import Settings


def find_machine(settings: Settings, environ: Mapping[str, str]) -> Machine:
    """The devices that the settings leave; the driver is asked where they do not state devices by hand."""
    if settings.device == "cpu":
        found = FoundDevices()
    elif settings.stated_devices is not None:
        found = FoundDevices(settings.stated_devices)
    else:
        found = find_devices(environ, pynvml)
    names = {settings.device} if ":" in settings.device else {device.name for device in found.devices}
    return Machine(
        host_budget=settings.memory_budget,
        devices=tuple(device for device in found.devices if device.name in names),
        device_share=settings.device_share,
        default=settings.device,
        remarks=found.remarks,
    )


def read_catalog_here(settings: Settings, environ: Mapping[str, str]) -> Catalog:
    """The catalogue of the settings, with what this machine can run of it. Raises CatalogError."""
    machine = find_machine(settings, environ)
    return read_catalog(settings.models_file, has_stand_ins=settings.is_stand_in_allowed, machine=machine)
