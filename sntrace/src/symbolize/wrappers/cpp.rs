//! C++ functions that merely wrap the allocator: the standard library's own.
//!
//! `v.push_back(x)` is, in an optimized build, a part of the function that wrote it: that is the
//! caller. So that a debug build, where it is a chain of eight library functions, tells the
//! same, the containers, strings and smart pointers of `std` are looked past, and whatever has
//! a name that only the implementation may use (`_M_allocate`, `__new_allocator`). What the
//! library does on its own account (streams, threads, locales, algorithms) is not.

/// Class templates of `std` whose members allocate because someone asked them to.
const CLASSES: &[&str] = &[
    "allocator",
    "allocator_traits",
    "scoped_allocator_adaptor",
    "default_delete",
    "raw_storage_iterator",
    "vector",
    "basic_string",
    "string",
    "wstring",
    "deque",
    "list",
    "forward_list",
    "map",
    "multimap",
    "set",
    "multiset",
    "unordered_map",
    "unordered_multimap",
    "unordered_set",
    "unordered_multiset",
    "flat_map",
    "flat_set",
    "stack",
    "queue",
    "priority_queue",
    "valarray",
    "unique_ptr",
    "shared_ptr",
    "weak_ptr",
    "enable_shared_from_this",
    "auto_ptr",
    "function",
    "move_only_function",
    "any",
    "optional",
    "variant",
    "pair",
    "tuple",
    "back_insert_iterator",
    "front_insert_iterator",
    "insert_iterator",
];

/// Function templates of `std`, alike.
const FUNCTIONS: &[&str] = &[
    "make_unique",
    "make_unique_for_overwrite",
    "make_shared",
    "make_shared_for_overwrite",
    "allocate_shared",
    "allocate_shared_for_overwrite",
    "to_string",
    "to_wstring",
    "operator+",
    "swap",
    "exchange",
    "construct_at",
    "destroy_at",
    "destroy",
    "destroy_n",
    "uninitialized_copy",
    "uninitialized_copy_n",
    "uninitialized_fill",
    "uninitialized_fill_n",
    "uninitialized_move",
    "uninitialized_move_n",
    "uninitialized_default_construct_n",
    "uninitialized_value_construct_n",
    "forward",
    "move",
];

/// Inline namespaces of libstdc++ and libc++ between `std::` and the name.
const INLINE_NAMESPACES: &[&str] = &[
    "__cxx11::",
    "__cxx1998::",
    "__debug::",
    "__1::",
    "__2::",
    "__ndk1::",
    "__8::",
];

/// Paths outside `std`, by their start.
const PATHS: &[&str] = &[
    "__gnu_cxx::",
    "std::pmr::",
    // Qt's containers, whose members inline to these.
    "QArrayData::",
    "QTypedArrayData<",
    "QListData::",
    "QHashData::",
    "QMapDataBase::",
];

/// Whether the C++ function of this name (without a return type) merely wraps the allocator.
pub(super) fn is_wrapper(name: &str) -> bool {
    if PATHS.iter().any(|path| name.starts_with(path)) {
        return true;
    }
    let Some(mut rest) = name.strip_prefix("std::") else {
        return false;
    };
    while let Some(inner) = INLINE_NAMESPACES
        .iter()
        .find_map(|namespace| rest.strip_prefix(namespace))
    {
        rest = inner;
    }
    let end = rest
        .find(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .unwrap_or(rest.len());
    let end = if &rest[..end] == "operator" && rest[end..].starts_with('+') {
        end + 1
    } else {
        end
    };
    let (identifier, tail) = rest.split_at(end);
    if FUNCTIONS.contains(&identifier) {
        return tail.starts_with(['<', '(', '[']);
    }
    // A type's own members only: `std::vector<..>::push_back`, not a path without one.
    CLASSES.contains(&identifier) && (tail.starts_with('<') || tail.starts_with("::") || tail.starts_with('['))
        // `_M_allocate`, `__new_allocator`: reserved for the implementation.
        || identifier.starts_with('_') && !tail.is_empty()
}
