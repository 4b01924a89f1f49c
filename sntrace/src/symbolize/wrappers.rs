//! Functions that merely wrap the allocator, and are looked past to find the caller.
//!
//! A line should name the function whose decision it was to allocate. `operator new`, `xmalloc`,
//! `strdup` or `Vec::push` allocate because someone asked them to; that someone is the caller.
//! Looking past a function is harmless to the ones inside it: an address is asked from the
//! innermost function outward, so a function on these lists is only passed when everything
//! between it and the allocator was passed too.
//!
//! Three languages, three rooms: `c` is a list of exact names; `cpp` and `rust`
//! go by the path of the name, since the standard libraries' containers have more members than
//! one can list. To add a function, add a line there and to the tests below. What is looked past
//! is *names only*: with or without debug info the same caller is found, inlined or not.

mod c;
mod cpp;
mod rust;

/// A global `operator new` or `operator delete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `operator new`.
    New,
    /// `operator new[]`.
    NewArray,
    /// `operator delete`.
    Delete,
    /// `operator delete[]`.
    DeleteArray,
}

/// Whether the function of this demangled name merely wraps the allocator.
#[must_use]
pub fn is_wrapper(name: &str) -> bool {
    if let Some(head) = head_of_call(name) {
        // Parameters: C++. A path-less name may be a C function compiled as C++, like gcc's own
        // `xmalloc(unsigned long)`.
        return operator(name).is_some() || cpp::is_wrapper(name) || c::is_wrapper(head);
    }
    operator(name).is_some()
        || c::is_wrapper(name)
        || rust::is_wrapper(name)
        || cpp::is_wrapper(name)
}

/// Which global operator the function of this demangled name is, if any.
#[must_use]
pub fn operator(name: &str) -> Option<Operator> {
    let rest = name.strip_prefix("operator ")?;
    // Debug info without linkage names has no parameters here.
    match rest.split('(').next()? {
        "new" => Some(Operator::New),
        "new[]" => Some(Operator::NewArray),
        "delete" => Some(Operator::Delete),
        "delete[]" => Some(Operator::DeleteArray),
        _ => None,
    }
}

/// The part of a C++ name before its parameters; `None` where there are none.
fn head_of_call(name: &str) -> Option<&str> {
    let mut depth = 0i32;
    let mut previous = ' ';
    for (at, character) in name.char_indices() {
        match character {
            '(' if depth == 0 => {
                // `(anonymous namespace)::f()` and `{lambda(int)#1}` are parts of the path.
                if name[at..].starts_with("(anonymous") {
                    depth += 1;
                } else {
                    return Some(&name[..at]);
                }
            }
            '<' | '(' | '{' | '[' => depth += 1,
            // `->` in the types of functions closes nothing.
            '>' if previous == '-' => {}
            '>' | ')' | '}' | ']' => depth -= 1,
            _ => {}
        }
        previous = character;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_looked_past() {
        for name in [
            "operator new(unsigned long)",
            "operator new[](unsigned long, std::nothrow_t const&)",
            "operator new(unsigned long, std::align_val_t)",
            "operator delete(void*)",
            "operator delete[](void*, unsigned long)",
            "operator new",
            "std::allocator<int>::allocate(unsigned long)",
            "__gnu_cxx::new_allocator<int>::allocate(unsigned long, void const*)",
            "std::__new_allocator<char>::deallocate(char*, unsigned long)",
            "std::allocator_traits<std::allocator<int> >::allocate(std::allocator<int>&, unsigned long)",
            "std::_Vector_base<int, std::allocator<int> >::_M_allocate(unsigned long)",
            "std::vector<int, std::allocator<int> >::_M_realloc_insert<int>(__gnu_cxx::__normal_iterator<int*, std::vector<int, std::allocator<int> > >, int&&)",
            "std::vector<int, std::allocator<int> >::push_back(int&&)",
            "std::vector<std::function<void (int)>, std::allocator<std::function<void (int)> > >::reserve(unsigned long)",
            "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >::_M_create(unsigned long&, unsigned long)",
            "std::__1::basic_string<char>::__grow_by(unsigned long)",
            "std::__1::__libcpp_allocate[abi:v15000](unsigned long, unsigned long)",
            "std::__1::vector<int, std::__1::allocator<int> >::~vector()",
            "std::make_unique<Foo, int>(int&&)",
            "std::make_shared<Foo>()",
            "std::__shared_count<(__gnu_cxx::_Lock_policy)2>::__shared_count<Foo>(Foo*)",
            "std::unique_ptr<Foo, std::default_delete<Foo> >::~unique_ptr()",
            "std::default_delete<Foo>::operator()(Foo*) const",
            "std::operator+<char, std::char_traits<char>, std::allocator<char> >(char const*, std::string const&)",
            "QArrayData::allocate(unsigned long, unsigned long, unsigned long, QFlags<QArrayData::AllocationOption>)",
            "__rust_alloc",
            "__rust_realloc",
            "__rustc::__rust_dealloc",
            "__rdl_alloc",
            "__rustc::__rdl_realloc",
            "__rg_alloc_zeroed",
            "alloc::alloc::alloc",
            "alloc::alloc::exchange_malloc",
            "<alloc::alloc::Global as core::alloc::Allocator>::allocate",
            "<alloc::alloc::Global>::alloc_impl",
            "alloc::raw_vec::RawVec<T,A>::grow_one",
            "alloc::raw_vec::finish_grow",
            "alloc::vec::Vec<T,A>::push",
            "<alloc::vec::Vec<u8>>::push",
            "<alloc::vec::Vec<T> as alloc::vec::spec_from_iter::SpecFromIter<T,I>>::from_iter",
            "<alloc::vec::Vec<T,A> as core::ops::drop::Drop>::drop",
            "<alloc::string::String as core::convert::From<&str>>::from",
            "<str as alloc::string::ToString>::to_string",
            "<T as alloc::borrow::ToOwned>::to_owned",
            "<mine::Thing as alloc::string::ToString>::to_string",
            "alloc::slice::<impl [T]>::to_vec",
            "<[mine::Thing]>::to_vec",
            "<u8 as <[_]>::to_vec_in::ConvertVec>::to_vec::<alloc::alloc::Global>",
            "<<alloc::boxed::Box<str> as core::convert::From<&str>>::from as core::ops::function::FnOnce<(&str,)>>::call_once",
            "<core::fmt::Formatter>::write_str",
            "core::fmt::write",
            "<u64 as core::fmt::Debug>::fmt",
            "<T as core::convert::Into<U>>::into",
            "alloc::fmt::format::format_inner",
            "alloc::boxed::Box<T>::new",
            "alloc::collections::btree::map::BTreeMap<K,V,A>::insert",
            "hashbrown::raw::RawTable<T,A>::reserve_rehash",
            "<hashbrown::raw::RawTable<(u32, u32)>>::reserve_rehash::<core::hash::Hasher>",
            "std::collections::hash::map::HashMap<K,V,S>::insert",
            "std::alloc::__default_lib_allocator::__rdl_alloc",
            "std::sys::alloc::unix::<impl core::alloc::global::GlobalAlloc for std::alloc::System>::alloc",
            "std::sys::pal::unix::alloc::aligned_malloc",
            "<std::alloc::System as core::alloc::global::GlobalAlloc>::alloc",
            "core::ptr::drop_in_place<alloc::vec::Vec<u8>>",
            "core::ptr::drop_in_place::<alloc::string::String>",
            "core::mem::drop",
            "core::iter::adapters::map::map_fold::{{closure}}",
            "<core::iter::adapters::map::Map<I,F> as core::iter::traits::iterator::Iterator>::fold",
            "core::option::Option<T>::map_or_else",
            "malloc",
            "__libc_malloc",
            "__GI___libc_malloc",
            "strdup",
            "__strdup",
            "__GI___strdup",
            "strndup",
            "wcsdup",
            "asprintf",
            "__vasprintf_internal",
            "__asprintf_chk",
            "getline",
            "getdelim",
            "xmalloc",
            "xmalloc(unsigned long)",
            "xstrdup",
            "x2nrealloc",
            "xnmalloc",
            "xcharalloc",
            "do_xmalloc",
            "g_malloc",
            "g_malloc0",
            "g_malloc_n",
            "g_try_realloc",
            "g_strdup_printf",
            "g_slice_alloc0",
            "g_free",
            "xfree",
            "PyMem_RawMalloc",
            "_PyMem_RawMalloc",
            "PyMem_Realloc",
            "PyObject_Free",
            "_PyObject_Malloc",
            "sqlite3MemMalloc",
            "sqlite3DbMallocRawNN",
            "sqlite3_free",
            "CRYPTO_zalloc",
            "OPENSSL_malloc",
            "zcalloc",
            "zcfree",
            "Perl_safesysmalloc",
        ] {
            assert!(is_wrapper(name), "{name} merely wraps");
        }
    }

    #[test]
    fn callers_are_not_looked_past() {
        for name in [
            "main",
            "",
            "xmalloc_report",
            "my_strdup_table",
            "malloc_stats_print",
            "free_list",
            "freelist",
            "g_malloc_dump",
            "rt_arena_create_sized",
            "deflateInit_",
            "deflateInit2_",
            "inflateInit2_",
            "deflateEnd",
            "inflateEnd",
            "sqlite3_open",
            "sqlite3BtreeOpen",
            "PyList_New",
            "PyMemoryView_FromObject",
            "Perl_newSV",
            "CRYPTO_malloc_init",
            "_IO_file_doallocate",
            "app::sort(std::vector<int, std::allocator<int> >&)",
            "app::vector<int>::push_back(int)",
            "app::std::vector<int>::push_back(int)",
            "Foo::operator new(unsigned long)",
            "app::operator new(unsigned long)",
            "operator newton(int)",
            "alloc::grab(int)",
            "(anonymous namespace)::allocate(int)",
            "std::sort<int*>(int*, int*)",
            "std::thread::_State_impl<int>::_M_run()",
            "std::basic_ifstream<char, std::char_traits<char> >::open(char const*)",
            "mine::alloc::grow",
            "allocator::grow",
            "mine::main",
            "mine::main::{{closure}}",
            "<mine::Arena as mine::Alloc>::alloc",
            "<alloc::vec::Vec<u8> as mine::Pack>::pack",
            "<mine::Thing as core::clone::Clone>::clone",
            "<mine::Thing as core::fmt::Display>::fmt",
            "<&mine::Thing as core::fmt::Display>::fmt",
            "<u64 as mine::Pack>::pack",
            "<mine::Thing as alloc::task::Wake>::wake",
            "<mine::Thing as core::ops::drop::Drop>::drop",
            "std::collections::mine",
            "std::io::Read::read_to_end",
            "std::thread::Builder::spawn_unchecked",
        ] {
            assert!(!is_wrapper(name), "{name} decides by itself");
        }
    }

    #[test]
    fn only_global_operators_are_operators() {
        for (name, expected) in [
            ("operator new(unsigned long)", Some(Operator::New)),
            ("operator new[](unsigned long)", Some(Operator::NewArray)),
            (
                "operator delete(void*, unsigned long)",
                Some(Operator::Delete),
            ),
            (
                "operator delete[](void*, std::align_val_t)",
                Some(Operator::DeleteArray),
            ),
            ("operator new", Some(Operator::New)),
            ("Foo::operator new(unsigned long)", None),
            ("operator newton(int)", None),
            ("operator==(A, B)", None),
            ("malloc", None),
        ] {
            assert_eq!(operator(name), expected, "{name}");
        }
    }
}
