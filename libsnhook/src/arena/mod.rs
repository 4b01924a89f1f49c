//! Arenas: memory that goes as a whole, for programs that ask for it by name (`snhook.h`).
//!
//! An arena gives blocks by moving a pointer on, keeps what it gave until it is reset or
//! destroyed, and takes its children with it. All arenas of a process have their memory from one
//! reserved range of addresses, so which arena a pointer belongs to is a subtraction and one
//! load from a table of the hook's own: nothing is read behind a pointer that may be foreign.
//!
//! | module | what |
//! |---|---|
//! | [`handle`] | the checked numbers by which arenas are named |
//! | [`region`] | the range, cut into spans; who owns which |
//! | [`slot`] | the table of arenas |
//! | [`block`], [`chunk`] | what stands before a block, what stands before blocks |
//! | [`allocate`] | blocks: giving, resizing, walking |
//! | [`tree`] | arenas: creating, resetting, destroying |
//! | [`api`] | the exported functions |
//!
//! No hook calls anything here, and nothing here calls a hook: a program that doesn't use arenas
//! has no range, no table, and not one instruction more on its way to `malloc`.
//!
//! Phase: slow. Only raw system calls, no lock at all: after a fork the child has copies of all
//! arenas, in whatever state other threads were, and can go on with its own.

pub mod allocate;
pub mod api;
pub mod block;
pub mod chunk;
pub mod handle;
pub mod region;
pub mod slot;
pub mod tree;

#[cfg(test)]
mod tests;
