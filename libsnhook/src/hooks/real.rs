//! The real functions: what the program would have called without the hook.
//!
//! Each is the next definition of its name after the hook in the loader's search order
//! (`RTLD_NEXT`), so a preloaded or linked allocator stays the one that serves the program.
//! Looked up once, in the load phase. Until then the bootstrap heap stands in, as `dlsym` itself
//! may allocate.

use core::ffi::{c_char, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::bootstrap;

/// Address of a function. Written by the one thread that starts the hook, release; read relaxed
/// by all: an address is a single word, and a reader that still sees the stand-in is served by
/// the bootstrap heap, whose blocks are recognised for ever.
pub type Function = AtomicUsize;

macro_rules! reals {
    ($($name:ident $symbol:literal;)*) => {
        $(
            #[doc = concat!("The real `", $symbol, "`; 0 where the program has none.")]
            #[allow(non_upper_case_globals)]
            pub static $name: Function = AtomicUsize::new(0);
        )*
        /// Every function with its symbol name, ended by a zero.
        static TABLE: &[(&str, &Function)] = &[$((concat!($symbol, "\0"), &$name)),*];
    };
}

// THE table. C++ names: the Itanium ABI's `nw`/`na`/`dl`/`da`, with `m` for size_t.
// Memory from the kernel first: an allocator that is called while it is looked up itself needs it.
reals! {
    MMAP "mmap";
    MMAP64 "mmap64";
    MUNMAP "munmap";
    MREMAP "mremap";
    SBRK "sbrk";
    MALLOC "malloc";
    CALLOC "calloc";
    REALLOC "realloc";
    REALLOCARRAY "reallocarray";
    FREE "free";
    POSIX_MEMALIGN "posix_memalign";
    ALIGNED_ALLOC "aligned_alloc";
    MEMALIGN "memalign";
    VALLOC "valloc";
    PVALLOC "pvalloc";
    FREE_SIZED "free_sized";
    FREE_ALIGNED_SIZED "free_aligned_sized";
    NEW "_Znwm";
    NEW_ARRAY "_Znam";
    NEW_NOTHROW "_ZnwmRKSt9nothrow_t";
    NEW_ARRAY_NOTHROW "_ZnamRKSt9nothrow_t";
    NEW_ALIGNED "_ZnwmSt11align_val_t";
    NEW_ARRAY_ALIGNED "_ZnamSt11align_val_t";
    NEW_ALIGNED_NOTHROW "_ZnwmSt11align_val_tRKSt9nothrow_t";
    NEW_ARRAY_ALIGNED_NOTHROW "_ZnamSt11align_val_tRKSt9nothrow_t";
    DELETE "_ZdlPv";
    DELETE_ARRAY "_ZdaPv";
    DELETE_NOTHROW "_ZdlPvRKSt9nothrow_t";
    DELETE_ARRAY_NOTHROW "_ZdaPvRKSt9nothrow_t";
    DELETE_SIZED "_ZdlPvm";
    DELETE_ARRAY_SIZED "_ZdaPvm";
    DELETE_ALIGNED "_ZdlPvSt11align_val_t";
    DELETE_ARRAY_ALIGNED "_ZdaPvSt11align_val_t";
    DELETE_ALIGNED_NOTHROW "_ZdlPvSt11align_val_tRKSt9nothrow_t";
    DELETE_ARRAY_ALIGNED_NOTHROW "_ZdaPvSt11align_val_tRKSt9nothrow_t";
    DELETE_SIZED_ALIGNED "_ZdlPvmSt11align_val_t";
    DELETE_ARRAY_SIZED_ALIGNED "_ZdaPvmSt11align_val_t";
    DLOPEN "dlopen";
    DLMOPEN "dlmopen";
    DLCLOSE "dlclose";
    FORK "fork";
    EXECVE "execve";
    EXECV "execv";
    EXECVP "execvp";
    EXECVPE "execvpe";
    FEXECVE "fexecve";
    EXECVEAT "execveat";
    EXECL "execl";
    EXECLE "execle";
    EXECLP "execlp";
    POSIX_SPAWN "posix_spawn";
    POSIX_SPAWNP "posix_spawnp";
    PIDFD_SPAWN "pidfd_spawn";
    PIDFD_SPAWNP "pidfd_spawnp";
    SYSTEM "system";
    POPEN "popen";
}

/// Address of the C library's `environ`, a pointer variable; 0 before the look-up. As [`Function`].
///
/// Not the next definition but the first one: a program that is not position-independent has a
/// copy of the variable, which is then the C library's too.
pub static ENVIRON: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    /// The one symbol that the hook needs from the program's C library.
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// `RTLD_NEXT`, `RTLD_DEFAULT` of both glibc and musl.
const NEXT: *mut c_void = usize::MAX as *mut c_void;
const DEFAULT: *mut c_void = core::ptr::null_mut();

/// The next definition of a name (ended by a zero) after the hook, or 0.
fn next(name: &str) -> usize {
    debug_assert!(name.ends_with('\0'));
    // SAFETY: the name ends with a zero. The C library is loaded: it is what calls malloc.
    unsafe { dlsym(NEXT, name.as_ptr().cast()) as usize }
}

/// The first definition of a name (ended by a zero), or 0.
fn any(name: &str) -> usize {
    // SAFETY: as in `next`.
    unsafe { dlsym(DEFAULT, name.as_ptr().cast()) as usize }
}

/// Looks everything up. Load phase, one thread, signals blocked.
///
/// Nothing is published before the last look-up: whatever the look-ups allocate comes from the
/// bootstrap heap, so that the program's own heap stays as it would be without the hook.
pub fn resolve() {
    let mut addresses = [0; TABLE.len()];
    for (address, (name, _)) in addresses.iter_mut().zip(TABLE) {
        *address = next(name);
        if *address == 0 {
            crate::ways::interpose::withdraw(name);
        }
    }
    // The name that the C library uses itself. The one without underscores is the program's, too.
    let mut environ = any("__environ\0");
    if environ == 0 {
        environ = any("environ\0");
    }
    // A failed lookup leaves an error text behind, which the program would find if it asked for
    // one. Asking for it clears it (`man 3 dlerror`).
    let clear = any("dlerror\0");
    if clear != 0 && addresses.contains(&0) {
        // SAFETY: dlerror takes nothing and returns a string or null.
        let clear: unsafe extern "C" fn() -> *const c_char = unsafe { core::mem::transmute(clear) };
        // SAFETY: as above. The second call frees what the first one returned.
        let _ = unsafe { (clear(), clear()) };
    }
    for (address, (_, function)) in addresses.iter().zip(TABLE) {
        function.store(*address, Ordering::Release);
    }
    ENVIRON.store(environ, Ordering::Release);
    // The hot path does not ask whether these two are there. Nobody can have a program without.
    for (function, stand_in) in [
        (&MALLOC, bootstrap::malloc as *const () as usize),
        (&FREE, bootstrap::free as *const () as usize),
    ] {
        if function.load(Ordering::Relaxed) == 0 {
            function.store(stand_in, Ordering::Release);
        }
    }
}

/// A function that may be called before the hook has started: looked up now if need be.
#[inline(always)]
pub fn known(function: &Function) -> usize {
    let address = function.load(Ordering::Relaxed);
    if address != 0 {
        return address;
    }
    crate::thread::start();
    function.load(Ordering::Relaxed)
}

/// A function that every C library has, looked up by itself where the hook has not started: a
/// look-up that succeeds allocates nothing.
pub fn alone(function: &Function, name: &str) -> usize {
    match function.load(Ordering::Relaxed) {
        0 => next(name),
        known => known,
    }
}

/// The program's current environment: `environ`'s array, or null.
pub fn environment() -> usize {
    let variable = known(&ENVIRON) as *const usize;
    if variable.is_null() {
        return 0;
    }
    // SAFETY: `environ` is a pointer variable (`man 7 environ`).
    unsafe { *variable }
}

/// Calls a real function of one argument, or the stand-in while it is unknown.
///
/// # Safety
/// The real function's own contract.
#[inline(always)]
pub unsafe fn call1(
    function: &Function,
    stand_in: unsafe extern "C" fn(usize) -> usize,
    a: usize,
) -> usize {
    let address = function.load(Ordering::Relaxed);
    if address == 0 {
        // SAFETY: a function of this crate with this signature.
        return unsafe { stand_in(a) };
    }
    // SAFETY: the loader's definition of a C function with this many integer arguments.
    let real: unsafe extern "C" fn(usize) -> usize = unsafe { core::mem::transmute(address) };
    // SAFETY: the program's own call, passed on.
    unsafe { real(a) }
}

/// Calls a real function of two arguments, or the stand-in while it is unknown.
///
/// # Safety
/// The real function's own contract.
#[inline(always)]
pub unsafe fn call2(
    function: &Function,
    stand_in: unsafe extern "C" fn(usize, usize) -> usize,
    a: usize,
    b: usize,
) -> usize {
    let address = function.load(Ordering::Relaxed);
    if address == 0 {
        // SAFETY: a function of this crate with this signature.
        return unsafe { stand_in(a, b) };
    }
    // SAFETY: the loader's definition of a C function with this many integer arguments.
    let real: unsafe extern "C" fn(usize, usize) -> usize =
        unsafe { core::mem::transmute(address) };
    // SAFETY: the program's own call, passed on.
    unsafe { real(a, b) }
}

/// Calls a real function of up to six arguments that is known to be there (its address is not 0).
///
/// # Safety
/// The real function's own contract.
#[inline(always)]
pub unsafe fn call6(function: usize, a: [usize; 6]) -> usize {
    // SAFETY: a C function with at most six integer arguments ignores the registers it does not
    // use, on both architectures.
    let real: unsafe extern "C" fn(usize, usize, usize, usize, usize, usize) -> usize =
        unsafe { core::mem::transmute(function) };
    // SAFETY: the program's own call, passed on.
    unsafe { real(a[0], a[1], a[2], a[3], a[4], a[5]) }
}

/// As [`free`], on a thread that has a state: it was made after the functions were looked up.
///
/// # Safety
/// The real function's own contract.
#[inline(always)]
pub unsafe fn free_known(block: usize) {
    // SAFETY: not 0: see `resolve`. The loader's definition of `free`, or the stand-in.
    let real: unsafe extern "C" fn(usize) =
        unsafe { core::mem::transmute(FREE.load(Ordering::Relaxed)) };
    // SAFETY: the program's own call, passed on.
    unsafe { real(block) }
}

/// Frees a block through the real `free`.
///
/// # Safety
/// The real function's own contract.
#[inline(always)]
pub unsafe fn free(block: usize) {
    let address = FREE.load(Ordering::Relaxed);
    if address == 0 {
        // SAFETY: does nothing.
        return unsafe { bootstrap::free(block) };
    }
    // SAFETY: the loader's definition of `free`.
    let real: unsafe extern "C" fn(usize) = unsafe { core::mem::transmute(address) };
    // SAFETY: the program's own call, passed on.
    unsafe { real(block) }
}
