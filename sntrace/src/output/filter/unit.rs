//! Units of sizes, the same wherever a user writes a size.

/// By how many bits a unit shifts a number: K, M and G are powers of 1024, with `B` or `iB` after
/// them or without, in capitals or not; no unit is bytes. `None` where it is no unit.
pub(crate) fn shift_of(unit: &str) -> Option<u32> {
    match unit.to_ascii_lowercase().as_str() {
        "" => Some(0),
        "k" | "kb" | "kib" => Some(10),
        "m" | "mb" | "mib" => Some(20),
        "g" | "gb" | "gib" => Some(30),
        _ => None,
    }
}
