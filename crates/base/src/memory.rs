//! Memory that this process uses.

/// Bytes that this process has in memory now, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    status("VmRSS:")
}

/// The most that it ever had.
pub fn resident_bytes_max() -> Option<u64> {
    status("VmHWM:")
}

/// A line of Linux's account of the process, in bytes.
fn status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn linux_tells() {
        let (now, most) = (resident_bytes().unwrap(), resident_bytes_max().unwrap());
        assert!(now > 100_000 && most >= now / 2, "{now} of {most}");
    }
}
