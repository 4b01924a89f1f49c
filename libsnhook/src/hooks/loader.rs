//! dlopen, dlmopen and dlclose: after one of them, an address may mean other code.
//!
//! The real functions look at their return address (for `RUNPATH`, namespaces, `$ORIGIN`), so they
//! are reached by a jump and the hook never learns when they return. It counts an *epoch* instead:
//! what was known about addresses is looked up again. While a call may still be going on, the
//! module map is read again for every address it does not know to stay ([`crate::modules`]).

use crate::hooks::real;
use crate::platform::forward;
use crate::{image, thread};

forward!(dlopen, entered, real::DLOPEN);
forward!(dlmopen, entered, real::DLMOPEN);
forward!(dlclose, entered, real::DLCLOSE);

unsafe extern "C" fn entered(sp: usize, _first: usize) {
    thread::start();
    if let Some(state) = thread::recording() {
        image::loader_called(state, sp);
    }
}
