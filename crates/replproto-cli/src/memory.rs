//! How much memory this process takes, where the system tells it.

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Now.
    pub(crate) resident: u64,
    /// The most so far.
    pub(crate) peak: u64,
}

impl Memory {
    /// Reads it; `None` on systems without `/proc`.
    pub(crate) fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let number = line.trim().strip_suffix("kB")?.trim();
            number.parse::<u64>().ok()
        };
        Some(Self {
            resident: kilobytes("VmRSS:")? * 1024,
            peak: kilobytes("VmHWM:")? * 1024,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_tells() {
        let status = "Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t   2000 kB\nVmRSS:\t   1500 kB\n";
        let memory = Memory {
            resident: 1_536_000,
            peak: 2_048_000,
        };
        assert_eq!(Memory::parse(status), Some(memory));
        assert_eq!(Memory::parse("Name:\tx\n"), None);
    }
}
