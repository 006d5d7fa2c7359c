//! The verb run: from a config file to a running gateway and back.
