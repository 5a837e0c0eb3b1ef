//! What the figures were measured on. Invariant: nothing here measures MAOS.
use anyhow::Result;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Syncs that are measured.
const SYNCS: usize = 200;
/// Bytes written before each.
const WRITE_BYTES: usize = 4_096;

/// Median and 99th percentile of a 4 KiB append and fdatasync, in microseconds.
pub(crate) fn fsync_us(dir: &Path) -> Result<(u64, u64)> {
    let path = dir.join("fsync.probe");
    let mut file = std::fs::File::create(&path)?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&[7; WRITE_BYTES])?;
        file.sync_data()?;
        took.push(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    std::fs::remove_file(&path)?;
    took.sort_unstable();
    Ok((took[SYNCS / 2], took[SYNCS * 99 / 100]))
}

/// Lines about the machine and the build.
pub(crate) fn about(dir: &Path) -> Result<String> {
    let (p50, p99) = fsync_us(dir)?;
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")).map_or("unknown", |l| l.trim_start_matches([' ', '\t', ':']));
    let memory = read("/proc/meminfo");
    let memory = memory.lines().next().unwrap_or_default().replace("MemTotal:", "").trim().to_owned();
    let load = read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "- machine: {cores} cores ({cpu}), {memory} of memory, {} {}\n- load before the run (1, 5, 15 min): {load}\n- fdatasync of 4 KiB: median {:.2} ms, p99 {:.2} ms ({SYNCS} times, where the database lies)\n- MAOS {}, {} build; the model server is maos-scripted, a process of its own on the same cores\n",
        std::env::consts::OS,
        read("/proc/sys/kernel/osrelease").trim(),
        p50 as f64 / 1e3,
        p99 as f64 / 1e3,
        env!("CARGO_PKG_VERSION"),
        if cfg!(debug_assertions) { "debug" } else { "release" },
    ))
}
