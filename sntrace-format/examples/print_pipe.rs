//! Reads the messages of the pipe transport and prints them, one a line: for looking at a hook
//! without the launcher (`scripts/cross.sh` does).
//!
//! ```text
//! mkfifo /tmp/events
//! cargo run -p sntrace-format --example print_pipe < /tmp/events &
//! SNTRACE_RUN=2:$$:0:16:0:/tmp/events LD_PRELOAD=/path/libsnhook.so ./program
//! ```
//!
//! Events look like `malloc(72) = 0x5500  [program+0x9a4 libc.so.6+0x27740]`: the caller, then the
//! frames beyond it, as the file's own addresses of the instruction after the call.

use std::io::Read;
use std::process::ExitCode;

use sntrace_format::control::{self, BODY_MAX, Control};
use sntrace_format::pipe::{HEADER_WORDS, MessageHeader};
use sntrace_format::record::{Event, Op, Record, decode};

/// A mapped file: first address, end, what to take from an address, name.
type Module = (u64, u64, u64, String);

fn main() -> ExitCode {
    match print_all(std::io::stdin().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("print_pipe: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ends when the last process has closed the pipe.
fn print_all(mut pipe: impl Read) -> std::io::Result<()> {
    let mut modules = Vec::new();
    loop {
        let head = match read_words(&mut pipe, HEADER_WORDS) {
            Ok(head) => head,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let header = head.try_into().ok().and_then(MessageHeader::from_words);
        let header = header.ok_or_else(|| std::io::Error::other("not a message"))?;
        let words = read_words(&mut pipe, header.words as usize)?;
        print_record(header, &words, &mut modules)
            .ok_or_else(|| std::io::Error::other(format!("not a record: {words:x?}")))?;
    }
}

fn read_words(pipe: &mut impl Read, count: usize) -> std::io::Result<Vec<u64>> {
    let mut word = [0; 8];
    (0..count)
        .map(|_| {
            pipe.read_exact(&mut word)
                .map(|()| u64::from_le_bytes(word))
        })
        .collect()
}

fn print_record(header: MessageHeader, words: &[u64], modules: &mut Vec<Module>) -> Option<()> {
    match decode(words).ok()?.0 {
        Record::Event {
            event,
            frames_at,
            frames,
            truncated,
            ..
        } => {
            let addresses = std::iter::once(&event.caller).chain(&words[frames_at..][..frames]);
            let mut stack: Vec<String> = addresses.map(|&at| place(at, modules)).collect();
            if truncated {
                stack.push("...".to_owned());
            }
            println!("{}  [{}]", call(&event), stack.join(" "));
        }
        Record::Control { kind, bytes, .. } => {
            let mut buffer = [0; BODY_MAX + 8];
            let message = control::parse(kind, control::body(words, bytes, &mut buffer))?;
            match message {
                Control::ModuleAdd {
                    start,
                    end,
                    bias,
                    path,
                    ..
                } => {
                    let path = String::from_utf8_lossy(path).into_owned();
                    println!("# module {start:#x}-{end:#x} {path}");
                    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
                    modules.push((start, end, bias, name));
                }
                Control::ModuleRemove { start } => modules.retain(|module| module.0 != start),
                Control::Process {
                    pid,
                    ppid,
                    forked_from,
                    ..
                } => {
                    let made = if forked_from == 0 { "exec" } else { "fork" };
                    println!("# process {pid} of {ppid} by {made}");
                }
                Control::Thread { tid } => println!("# thread {tid} of {}", header.pid),
                Control::Exec { pid, path } => {
                    println!("# {pid} runs {}", String::from_utf8_lossy(path));
                }
                Control::Loader { epoch } => println!("# loader, epoch {epoch}"),
                Control::StackDifference { .. } => println!("# a stack differs"),
            }
        }
        // No message is one: each stands for itself.
        Record::Stack { .. } | Record::Pad => {}
    }
    Some(())
}

/// The call as `man 3` writes it.
fn call(event: &Event) -> String {
    let Event {
        op,
        block,
        size,
        operands: [first, _, third],
        ..
    } = *event;
    let pointer = |address: u64| match address {
        0 => "(nil)".to_owned(),
        _ => format!("{address:#x}"),
    };
    let arguments = match (op.operands(), op.replaces()) {
        _ if op.only_releases() => return format!("{}({})", op.name(), pointer(block)),
        (2, true) => format!("{}, {size}", pointer(first)),
        (_, true) => format!("{}, {third}, {size}", pointer(first)),
        (0, false) => size.to_string(),
        _ if matches!(op, Op::NewAligned | Op::NewArrayAligned) => format!("{size}, {first}"),
        (_, false) => format!("{first}, {size}"),
    };
    format!("{}({arguments}) = {}", op.name(), pointer(block))
}

fn place(address: u64, modules: &[Module]) -> String {
    let module = modules
        .iter()
        .rev()
        .find(|(start, end, ..)| (*start..*end).contains(&address));
    match module {
        Some((_, _, bias, name)) => format!("{name}+{:#x}", address.wrapping_sub(*bias)),
        None => format!("?+{address:#x}"),
    }
}
