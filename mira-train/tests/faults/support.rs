//! Snapshots whose every number is known, files forged by the letter of the format, and this binary started again as another process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use mira_train::run_folder::{Snapshot, Tensor};
use serde_json::json;
use twox_hash::XxHash3_64;

const ROLE: &str = "MIRA_FAULTS_ROLE";
const FOLDER: &str = "MIRA_FAULTS_FOLDER";

/// A snapshot of which every number follows from the step.
pub(crate) fn snapshot(step: u64, num_parameters: u16) -> Snapshot {
    let shift = f32::from(u16::try_from(step % 65_536).unwrap()) * 0.25;
    let parameters: Vec<f32> = (0..num_parameters).map(|i| f32::from(i) + shift).collect();
    let momentum: Vec<f64> = parameters.iter().map(|&p| f64::from(p) / 3.0).collect();
    let tensor = |name: &str, shape: Vec<usize>, data| Tensor { name: name.into(), shape, data };
    Snapshot {
        meta: json!({ "step": step, "recipe": "0123456789abcdef" }),
        tensors: vec![
            tensor("parameters", vec![parameters.len()], parameters.into()),
            tensor("momentum", vec![momentum.len()], momentum.into()),
            tensor("counters", vec![2], vec![step, u64::MAX - step].into()),
            tensor("bytes", vec![3, 1], vec![1_u8, 2, 3].into()),
        ],
    }
}

/// A file by the letter of the format, its checksums right, whatever its header claims.
pub(crate) fn forge(header: &str, data: &[u8]) -> Vec<u8> {
    let mut header_region = header.as_bytes().to_vec();
    while !(40 + header_region.len()).is_multiple_of(64) {
        header_region.push(0);
    }
    let total = 40 + header_region.len() + data.len();
    forge_prologue(1, u32::try_from(header.len()).unwrap(), total as u64, &header_region, data)
}

/// As [`forge`], with any prologue.
pub(crate) fn forge_prologue(
    version: u32,
    num_json: u32,
    total: u64,
    header_region: &[u8],
    data: &[u8],
) -> Vec<u8> {
    let mut fields = Vec::new();
    fields.extend_from_slice(&version.to_le_bytes());
    fields.extend_from_slice(&num_json.to_le_bytes());
    fields.extend_from_slice(&total.to_le_bytes());
    fields.extend_from_slice(&XxHash3_64::oneshot(header_region).to_le_bytes());
    let mut file = b"\x89MIRA\r\n\x1a".to_vec();
    file.extend_from_slice(&fields);
    file.extend_from_slice(&XxHash3_64::oneshot(&fields).to_le_bytes());
    file.extend_from_slice(header_region);
    file.extend_from_slice(data);
    file
}

/// A process of this binary that plays `role` in `folder`; dropped, it is killed.
pub(crate) struct Other {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Other {
    pub(crate) fn start(role: &str, folder: &Path) -> Self {
        Self::of(&mut command(role, folder))
    }

    /// What [`as_other`] has prepared.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next thing it says.
    pub(crate) fn says(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.stdout.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // The test harness talks, too; and of a killed process's last line there may be a part.
            let said = line.split_once('@').and_then(|(_, said)| said.strip_suffix('\n'));
            if let Some(said) = said {
                return Some(said.to_owned());
            }
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        use rustix::process::{Pid, Signal, kill_process};
        let signal = match name {
            "INT" => Signal::INT,
            "TERM" => Signal::TERM,
            "USR1" => Signal::USR1,
            "HUP" => Signal::HUP,
            _ => panic!("no signal {name}"),
        };
        // Not by a program, whose start may take longer than what is told apart here.
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    #[cfg(unix)]
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// `None` while it runs.
    #[cfg(unix)]
    pub(crate) fn exit_code_so_far(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This binary, to be started as another process.
pub(crate) fn command(role: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    as_other(&mut command, role, folder);
    command
}

/// Arguments and environment that make this binary play `role`, whatever starts it.
pub(crate) fn as_other(command: &mut Command, role: &str, folder: &Path) {
    command
        .args(["--exact", "support::other_process", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
}

/// To the process that started this one.
pub(crate) fn say(what: &str) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(format!("@{what}\n").as_bytes()).unwrap();
    stdout.flush().unwrap();
}

/// Not a test of its own: what the other processes run.
#[test]
fn other_process() {
    let (Ok(role), Some(folder)) = (std::env::var(ROLE), std::env::var_os(FOLDER)) else { return };
    let folder = Path::new(&folder);
    match role.as_str() {
        "save for ever" => crate::kill::save_for_ever(folder),
        "hold" => crate::folder::hold(folder),
        "pack" => crate::pack::pack_in(folder),
        #[cfg(unix)]
        "stop when asked" => crate::signals::stop_when_asked(),
        #[cfg(unix)]
        "never stop" => crate::signals::never_stop(),
        #[cfg(unix)]
        "fill the disk" => crate::full_disk::fill(folder),
        #[cfg(unix)]
        "outgrow the limit" => crate::full_disk::outgrow(folder),
        #[cfg(unix)]
        "pack on a full disk" => crate::pack::on_a_full_disk(folder),
        #[cfg(unix)]
        "pack a file that may not grow" => crate::pack::that_may_not_grow(folder),
        #[cfg(unix)]
        "read-only" => crate::full_disk::read_only(folder),
        _ => panic!("no role {role}"),
    }
}
