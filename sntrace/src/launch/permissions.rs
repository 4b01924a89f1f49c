//! What the kernel will allow: who we are, what a file may do. Each is one question to the
//! kernel, asked before the program starts.
//!
//! # Safety
//!
//! The unsafe blocks call libc functions that only read: identities, and attributes of a path
//! that is passed as a C string living through the call.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The real user and group of this process.
#[must_use]
pub fn real_identity() -> (u32, u32) {
    // SAFETY: takes nothing, cannot fail.
    let user = unsafe { libc::getuid() };
    // SAFETY: as above.
    let group = unsafe { libc::getgid() };
    (user, group)
}

/// Whether this process works as root.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether `execve` would accept the file, as far as permissions go (also `noexec` mounts).
#[must_use]
pub fn may_execute(path: &Path) -> bool {
    let Some(path) = c_string(path) else {
        return false;
    };
    // SAFETY: `path` is a C string that lives through the call.
    unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) == 0 }
}

/// Whether the file carries capabilities (`setcap`).
#[must_use]
pub fn has_capabilities(path: &Path) -> bool {
    let Some(path) = c_string(path) else {
        return false;
    };
    // SAFETY: both names are C strings that live through the call; a null buffer of length 0
    // only asks for the size.
    let size = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            std::ptr::null_mut(),
            0,
        )
    };
    size > 0
}

/// Whether executing the file can raise privileges at all: not on a `nosuid` mount, and not for a
/// process that gave that up (`no_new_privs`, as containers do).
#[must_use]
pub fn may_raise_privileges(path: &Path) -> bool {
    // SAFETY: reads a flag of this thread; the other arguments must be zero, and are.
    if unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) } == 1 {
        return false;
    }
    let Some(path) = c_string(path) else {
        return true;
    };
    let mut facts = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is a C string; the kernel fills in the structure that `facts` has room for.
    if unsafe { libc::statvfs(path.as_ptr(), facts.as_mut_ptr()) } != 0 {
        return true;
    }
    // SAFETY: the call succeeded, so the structure is filled in.
    let facts = unsafe { facts.assume_init() };
    facts.f_flag & libc::ST_NOSUID == 0
}

fn c_string(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_bytes()).ok()
}
