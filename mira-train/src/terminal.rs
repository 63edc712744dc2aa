//! A progress bar on a terminal, and lines beside it.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a bar is drawn, at most, in a second.
const HZ: u8 = 8;

/// How much is done, the time left, and what is said besides.
pub(crate) const BAR: &str = "{bar:24} {percent:>3} %  eta {eta}  {msg}";

/// stderr: a bar if it is a terminal, lines, or nothing.
#[derive(Debug)]
pub(crate) struct Terminal {
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Terminal {
    /// A bar in indicatif's `template` that is not drawn before it [starts](Self::start); none without a terminal, and neither bar
    /// nor lines if `quiet`.
    pub(crate) fn new(template: &str, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        Self { bar, quiet }
    }

    /// The bar appears at `position` of `length`; the time left is estimated from here.
    pub(crate) fn start(&self, position: u64, length: u64) {
        if let Some(bar) = &self.bar {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(HZ));
            bar.set_length(length);
            bar.set_position(position);
            bar.reset_eta();
        }
    }

    /// The bar, if there is one.
    pub(crate) const fn bar(&self) -> Option<&ProgressBar> {
        self.bar.as_ref()
    }

    /// Whether lines are to be kept back.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A line that stays.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| tell(line)),
            None if self.quiet => {}
            None => tell(line),
        }
    }

    /// What must be known, quiet or not.
    pub(crate) fn warn(&self, warning: &str) {
        let line = format!("warning: {warning}");
        match &self.bar {
            Some(bar) => bar.suspend(|| tell(&line)),
            None => tell(&line),
        }
    }

    /// The bar goes away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// One line on stderr, whatever a path, a name or a decoder's words contain. Where stderr is gone (`2>&1 | head`) or its disk is full, the
/// line is lost and nothing else: `eprintln!` would end the program, and with it the work.
pub(crate) fn tell(text: &str) {
    let mut line = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line.push('\n');
    // In one piece, so that lines of several processes do not mix.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// The most memory that this process has held, in bytes, where the system tells.
pub(crate) fn peak_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes of memory that this process may still take, where the system tells: the machine's, or less where the process is in a control group
/// with a limit, as in containers and batch jobs. `root` is where `/proc` and `/sys` lie.
pub(crate) fn available_memory(root: &Path) -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let number = |path: &Path| read(path).trim().parse::<u64>().ok();
    let meminfo = read(&root.join("proc/meminfo"));
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let mut least = kilobytes.map(|n| n.saturating_mul(1024));
    for line in read(&root.join("proc/self/cgroup")).lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (home, limit, usage) = if controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max", "memory.current")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
        } else {
            continue;
        };
        // A limit of a group is one of all groups in it; a container may see its own group as the topmost one.
        for group in Path::new(group.trim_start_matches('/')).ancestors() {
            let folder = root.join(home).join(group);
            // Version 2 says "max" where there is none.
            let Some(limit) = number(&folder.join(limit)) else { continue };
            // Pages of files that can be dropped count as used.
            let statistics = read(&folder.join("memory.stat"));
            let cache = statistics.lines().find_map(|line| {
                line.strip_prefix("inactive_file ").or(line.strip_prefix("total_inactive_file "))
            });
            let cache = cache.and_then(|cache| cache.trim().parse::<u64>().ok()).unwrap_or(0);
            let used = number(&folder.join(usage)).unwrap_or(0).saturating_sub(cache);
            let left = limit.saturating_sub(used);
            least = Some(least.map_or(left, |least| least.min(left)));
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_control_groups_count() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(available_memory(root.path()), None);
        write("proc/meminfo", "MemTotal: 99 kB\nMemAvailable:   1000 kB\n");
        assert_eq!(available_memory(root.path()), Some(1_024_000));
        // Version 2: none at the process's group, one above it.
        write("proc/self/cgroup", "0::/job/step\n");
        write("sys/fs/cgroup/job/step/memory.max", "max\n");
        write("sys/fs/cgroup/job/memory.max", "700000\n");
        write("sys/fs/cgroup/job/memory.current", "300000\n");
        assert_eq!(available_memory(root.path()), Some(400_000));
        write("sys/fs/cgroup/job/memory.stat", "anon 7\ninactive_file 100000\n");
        assert_eq!(available_memory(root.path()), Some(500_000));
        // Version 1.
        write("proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/docker/x\n");
        write("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(available_memory(root.path()), Some(1_024_000));
        // A container's own group as the topmost.
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "600000\n");
        write("sys/fs/cgroup/memory/memory.usage_in_bytes", "100000\n");
        assert_eq!(available_memory(root.path()), Some(500_000));
    }
}
