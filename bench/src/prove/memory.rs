//! Peak memory of this process, as Linux counts it.

/// Greatest resident size in bytes since the start or the last reset; none where the system does not tell.
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Forgets the peak so far. Where that is not allowed, the next peak includes what came before.
pub fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_covers_what_was_touched_even_when_it_is_given_back() {
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        let bytes = block.len() as u64;
        assert!(peak().unwrap() >= bytes);
        drop(block);
        assert!(peak().unwrap() >= bytes);
    }
}
