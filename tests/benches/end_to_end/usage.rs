//! What this process has used, where the system tells it.

use std::fs;

/// Ticks a second of the times in `/proc`: fixed for programs, whatever the kernel's own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Now.
    pub(crate) resident: u64,
    /// The most so far, or since [`forget_peak`].
    pub(crate) peak: u64,
}

/// Zeroes on systems without `/proc`.
pub(crate) fn memory() -> Memory {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
        number.unwrap_or(0_u64)
    };
    Memory {
        resident: kilobytes("VmRSS:") * 1024,
        peak: kilobytes("VmHWM:") * 1024,
    }
}

/// The peak begins anew with what is resident now.
pub(crate) fn forget_peak() {
    // Where this cannot be said, the peak is that of the whole process, which is never too low.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Processor time of all threads so far, in seconds, to a hundredth.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses and may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    // Times in the program and in the kernel, fields 14 and 15 of all.
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS_PER_SECOND
}
