//! Where the stack of the process begins: what calls the loader's first function is nobody.
//!
//! That function is assembly without unwind information (`_dl_start_user` of glibc, `_dlstart` of musl),
//! and constructors that run before `main` are called by it. So a walk can't tell by its code whether it
//! has come to the end. It can tell by its place: the kernel starts a program with the number of its
//! arguments at the stack pointer, and nothing of the program's is above that.
//!
//! The kernel says where that was. Phase: slow; at most one reading a process.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::platform::sys;

/// How far below the process's first stack pointer its first function may stand: it aligns it.
const NEAR: u64 = 32;
/// Which field of `/proc/self/stat` it is, counted from the one behind the program's name.
const START_STACK: usize = 25;

/// The stack pointer with which the process began; 0: not read yet, or not known. Any thread writes it,
/// always the same, and reads it, relaxed: it stands for itself. A forked child has its parent's stack.
static BEGIN: AtomicU64 = AtomicU64::new(0);

/// Whether a frame with this stack pointer is that of the process's first function.
#[cold]
pub fn begins_at(sp: u64) -> bool {
    let mut begin = BEGIN.load(Ordering::Relaxed);
    if begin == 0 {
        begin = read().unwrap_or(0);
        BEGIN.store(begin, Ordering::Relaxed);
    }
    begin.checked_sub(sp).is_some_and(|below| below < NEAR)
}

fn read() -> Option<u64> {
    let fd = sys::open(b"/proc/self/stat\0", sys::READ_ONLY)?;
    let mut buffer = [0; 1024];
    let length = sys::read(fd, &mut buffer);
    sys::close(fd);
    start_stack(buffer.get(..length)?)
}

/// The field, from the file's text. The program's name may hold anything, but no field behind it does.
fn start_stack(text: &[u8]) -> Option<u64> {
    let name_end = text.iter().rposition(|&byte| byte == b')')?;
    let mut fields = text.get(name_end + 2..)?.split(|&byte| byte == b' ');
    let digits = fields.nth(START_STACK)?;
    let mut value = 0u64;
    for &digit in digits {
        let digit = digit.checked_sub(b'0').filter(|&digit| digit < 10)?;
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    (value != 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_found_behind_any_name() {
        let text = |name: &str| {
            let fields: Vec<String> = (3..=52).map(|number| (number * 100).to_string()).collect();
            format!("4711 ({name}) {}\n", fields.join(" "))
        };
        for name in ["who", "a b", ") S 1 2 (", "))"] {
            assert_eq!(start_stack(text(name).as_bytes()), Some(2800), "{name}");
        }
        let longest = "4711 (x) S 1 2";
        for end in 0..longest.len() {
            assert_eq!(start_stack(&longest.as_bytes()[..end]), None);
        }
    }

    #[test]
    fn the_kernel_tells_it_and_it_is_above_this_frame() {
        let here = 0u8;
        let begin = read().expect("/proc/self/stat tells it");
        // Tests run in threads of their own, whose stacks are below the first one's.
        assert!(begin > &raw const here as u64);
        assert!(begins_at(begin) && begins_at(begin - 16));
        assert!(!begins_at(begin - 64) && !begins_at(begin + 8));
    }
}
