//! What was called.

macro_rules! ops {
    ($($(#[doc = $doc:literal])* $name:ident = $tag:literal, $operands:literal, $text:literal;)*) => {
        /// What was called. The numbers are the wire tags.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Op { $($(#[doc = $doc])* $name = $tag,)* }

        impl Op {
            /// Every op, in the order of the tags.
            pub const ALL: &'static [Op] = &[$(Op::$name),*];

            /// The op with this tag.
            #[inline(always)]
            #[must_use]
            pub const fn from_tag(tag: u8) -> Option<Op> {
                // A look into a table: events ask for it, and what comes next is hard to guess.
                const BY_TAG: &[Option<Op>; 256] = &{
                    let mut by_tag = [None; 256];
                    $(by_tag[$tag] = Some(Op::$name);)*
                    by_tag
                };
                BY_TAG[tag as usize]
            }

            /// How many operand words a record of this op carries.
            #[inline(always)]
            #[must_use]
            pub const fn operands(self) -> usize {
                match self { $(Op::$name => $operands,)* }
            }

            /// The function's name, as lines and JSON show it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Op::$name => $text,)* }
            }
        }
    };
}

ops! {
    /// `malloc(size)`.
    Malloc = 1, 0, "malloc";
    /// `calloc(count, size)`; operand: count.
    Calloc = 2, 1, "calloc";
    /// `realloc(old, size)`; operands: old block, time before the call.
    Realloc = 3, 2, "realloc";
    /// `reallocarray(old, count, size)`; operands: old block, time before the call, count.
    Reallocarray = 4, 3, "reallocarray";
    /// `aligned_alloc(alignment, size)`; operand: alignment.
    AlignedAlloc = 5, 1, "aligned_alloc";
    /// `posix_memalign(&block, alignment, size)`; operand: alignment. Block 0: it failed.
    PosixMemalign = 6, 1, "posix_memalign";
    /// `memalign(alignment, size)`; operand: alignment.
    Memalign = 7, 1, "memalign";
    /// `valloc(size)`.
    Valloc = 8, 0, "valloc";
    /// `pvalloc(size)`.
    Pvalloc = 9, 0, "pvalloc";
    /// `free(block)`.
    Free = 10, 0, "free";
    /// `free_sized(block, size)`.
    FreeSized = 11, 0, "free_sized";
    /// `free_aligned_sized(block, alignment, size)`; operand: alignment.
    FreeAlignedSized = 12, 1, "free_aligned_sized";
    /// `operator new(size)`.
    New = 13, 0, "operator new";
    /// `operator new[](size)`.
    NewArray = 14, 0, "operator new[]";
    /// `operator new(size, align_val_t)`; operand: alignment.
    NewAligned = 15, 1, "operator new";
    /// `operator new[](size, align_val_t)`; operand: alignment.
    NewArrayAligned = 16, 1, "operator new[]";
    /// `operator delete(block)`; a sized form carries its size, the others 0.
    Delete = 17, 0, "operator delete";
    /// `operator delete[](block)`.
    DeleteArray = 18, 0, "operator delete[]";
    /// `operator delete(block, align_val_t)`; operand: alignment.
    DeleteAligned = 19, 1, "operator delete";
    /// `operator delete[](block, align_val_t)`; operand: alignment.
    DeleteArrayAligned = 20, 1, "operator delete[]";
    /// `mmap(address, size, prot, flags, fd, offset)`; operand: `prot | flags << 32`.
    Mmap = 21, 1, "mmap";
    /// `munmap(block, size)`.
    Munmap = 22, 0, "munmap";
    /// `mremap(old, old_size, size, ...)`; operands: old block, time before the call, old size.
    Mremap = 23, 3, "mremap";
    /// `brk(address)` or `sbrk(increment)`: block is the break before, size the signed growth.
    Brk = 24, 0, "brk";
    /// The lane's last stack changes: see [`crate::stack`].
    Stack = 61, 0, "stack";
    /// Nothing up to the end of the ring.
    Pad = 62, 0, "pad";
    /// A control message: see [`crate::control`].
    Control = 63, 0, "control";
}

impl Op {
    /// Whether a successful call gives the caller a block it did not have before.
    #[must_use]
    pub const fn acquires(self) -> bool {
        !self.only_releases() && self.is_call() && !matches!(self, Op::Brk)
    }

    /// Whether this is the call of a function, and its record an event.
    #[must_use]
    pub const fn is_call(self) -> bool {
        !matches!(self, Op::Stack | Op::Pad | Op::Control)
    }

    /// Whether the call gives a block back and nothing else.
    #[must_use]
    pub const fn only_releases(self) -> bool {
        matches!(
            self,
            Op::Free
                | Op::FreeSized
                | Op::FreeAlignedSized
                | Op::Delete
                | Op::DeleteArray
                | Op::DeleteAligned
                | Op::DeleteArrayAligned
                | Op::Munmap
        )
    }

    /// Whether the call can replace one block by another: its first operands are the old block
    /// and the time before the call.
    #[must_use]
    pub const fn replaces(self) -> bool {
        matches!(self, Op::Realloc | Op::Reallocarray | Op::Mremap)
    }

    /// Whether this is memory from the kernel, not from the allocator.
    #[must_use]
    pub const fn is_mapping(self) -> bool {
        matches!(self, Op::Mmap | Op::Munmap | Op::Mremap | Op::Brk)
    }
}
