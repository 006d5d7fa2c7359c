//! Opening the devices that the config names.
