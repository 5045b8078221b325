//! Contracts across rooms: see the files beside this one.
