//! What the process itself uses, under the names that every Prometheus client library gives these figures. Read from
//! `/proc` when metrics are rendered; where there is no `/proc`, the figures are left out.

use prometheus::{Counter, IntGauge, Registry};

/// The unit of the CPU times in `/proc/self/stat`: `USER_HZ`, which Linux fixes at 100 towards programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// The process's figures.
#[derive(Debug)]
pub(super) struct Process {
    cpu: Counter,
    resident: IntGauge,
    open_files: IntGauge,
}

impl Process {
    /// Registers the figures, where this machine has them.
    pub(super) fn register(registry: &Registry) -> Result<Option<Self>, prometheus::Error> {
        if Reading::take().is_none() {
            return Ok(None);
        }
        let process = Self {
            cpu: Counter::new("process_cpu_seconds_total", "CPU time used by the process, user and system.")?,
            resident: IntGauge::new("process_resident_memory_bytes", "Resident memory of the process.")?,
            open_files: IntGauge::new("process_open_fds", "Open file descriptors, connections included.")?,
        };
        registry.register(Box::new(process.cpu.clone()))?;
        registry.register(Box::new(process.resident.clone()))?;
        registry.register(Box::new(process.open_files.clone()))?;
        Ok(Some(process))
    }

    /// Takes a new reading.
    pub(super) fn update(&self) {
        let Some(reading) = Reading::take() else {
            return;
        };
        // Two scrapes at once may both see the same difference as theirs, so a negative one is possible: it is left out.
        self.cpu.inc_by((reading.cpu_seconds - self.cpu.get()).max(0.0));
        self.resident.set(reading.resident_bytes);
        self.open_files.set(reading.open_files);
    }
}

struct Reading {
    cpu_seconds: f64,
    resident_bytes: i64,
    open_files: i64,
}

impl Reading {
    fn take() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count();
        Some(Self {
            cpu_seconds: cpu_seconds(&stat)?,
            resident_bytes: resident_bytes(&status)?,
            open_files: i64::try_from(open_files).ok()?,
        })
    }
}

/// Fields 14 and 15 of `/proc/self/stat`, counted behind the program's name, which may hold spaces and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_whitespace().skip(11).map_while(|ticks| ticks.parse::<f64>().ok());
    Some((times.next()? + times.next()?) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_behind_an_odd_program_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 100 1000 10";
        assert!((cpu_seconds(stat).unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    12 kB\n"), Some(12_288));
        assert_eq!(cpu_seconds("nonsense").map(f64::to_bits), None);
    }
}
