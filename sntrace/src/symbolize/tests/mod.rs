//! Symbolization of files that the machine's own tools build.

mod callers;
mod debug_files;
mod debug_info;
mod hostile;
mod languages;
