//! C functions that merely wrap the allocator: exact names.
//!
//! Names are compared without leading underscores and without glibc's `__GI_` (its name for its
//! own use of a public function), so that one line covers `strdup`, `__strdup` and
//! `__GI___strdup`. No patterns: `x*alloc` would also be `xmalloc_report`, and a caller that is
//! hidden is worse than a wrapper that is shown.

use std::collections::HashSet;
use std::sync::LazyLock;

/// The names, by the library they come from, apart by blanks.
const NAMES: &[&str] = &[
    // The allocator itself, met as a caller where one of its functions calls another.
    "malloc calloc realloc reallocarray free cfree memalign aligned_alloc posix_memalign valloc pvalloc",
    "free_sized free_aligned_sized reallocf malloc_hook_ini realloc_hook_ini memalign_hook_ini",
    "libc_malloc libc_calloc libc_realloc libc_reallocarray libc_free libc_memalign libc_valloc libc_pvalloc",
    "posix_memalign_internal mid_memalign aligned_alloc_internal rtld_malloc rtld_calloc rtld_realloc rtld_free",
    "default_malloc malloc_default_init",
    // Of other allocators: the layers between their entry points and the kernel.
    "je_malloc je_calloc je_realloc je_free je_mallocx je_rallocx je_dallocx",
    "mi_malloc mi_calloc mi_realloc mi_free mi_zalloc mi_new mi_new_n tc_malloc tc_calloc tc_realloc tc_free tc_new tc_delete",
    // glibc: memory that the caller asked for and frees.
    "strdup strndup wcsdup asprintf vasprintf asprintf_chk vasprintf_chk vasprintf_internal",
    "getline getdelim IO_getdelim",
    "libc_dynarray_emplace_enlarge libc_dynarray_resize libc_alloc_buffer_allocate",
    "libc_scratch_buffer_grow libc_scratch_buffer_grow_preserve libc_scratch_buffer_set_array_size",
    // gnulib, libiberty, git and hundreds of programs with their own copy.
    "xmalloc xzalloc xcalloc xrealloc xfree xmemdup xmemdup0 xmemdupz xstrdup xstrndup xstrdup_or_null",
    "xnmalloc xnrealloc xncalloc x2realloc x2nrealloc xcharalloc xreallocarray xpalloc xsetlen",
    "ximalloc xizalloc xicalloc xirealloc xireallocarray xinmalloc xi2realloc xi2nrealloc ximemdup ximemdup0 xicharalloc",
    "imalloc icalloc irealloc ireallocarray rpl_malloc rpl_calloc rpl_realloc rpl_free rpl_reallocarray",
    "xasprintf xvasprintf xmallocz xmallocz_gently do_xmalloc do_xmallocz xcalloc_inline xmalloc0 xrealloc_array",
    "xaligned_alloc xposix_memalign xmemalign xalignalloc alignalloc",
    "sh_malloc sh_xmalloc sh_realloc sh_xrealloc sh_calloc sh_free sh_xfree xheapalloc",
    "safe_malloc safe_calloc safe_realloc safe_strdup safe_free emalloc ecalloc erealloc estrdup",
    "ckalloc Tcl_Alloc Tcl_Realloc Tcl_Free TclpAlloc TclpRealloc TclpFree Tcl_DbCkalloc",
    "checked_malloc checked_calloc checked_realloc malloc_or_die",
    // GLib.
    "g_malloc g_malloc0 g_malloc_n g_malloc0_n g_realloc g_realloc_n g_free g_free_sized g_clear_pointer",
    "g_try_malloc g_try_malloc0 g_try_malloc_n g_try_malloc0_n g_try_realloc g_try_realloc_n",
    "g_aligned_alloc g_aligned_alloc0 g_aligned_free g_aligned_free_sized",
    "g_strdup g_strndup g_strdupv g_strnfill g_strdup_printf g_strdup_vprintf g_vasprintf g_memdup g_memdup2 g_strconcat g_strjoin",
    "g_slice_alloc g_slice_alloc0 g_slice_copy g_slice_free1 g_slice_free_chain_with_offset thread_memory_magazine1_reload magazine_cache_pop_magazine",
    "standard_malloc standard_calloc standard_realloc standard_free",
    // CPython's layers of allocators.
    "PyMem_Malloc PyMem_Calloc PyMem_Realloc PyMem_Free PyMem_RawMalloc PyMem_RawCalloc PyMem_RawRealloc PyMem_RawFree",
    "PyMem_DebugMalloc PyMem_DebugCalloc PyMem_DebugRealloc PyMem_DebugFree PyMem_DebugRawMalloc PyMem_DebugRawCalloc PyMem_DebugRawRealloc PyMem_DebugRawFree PyMem_DebugRawAlloc",
    "PyMem_Strdup PyMem_RawStrdup PyMem_RawWcsdup",
    "PyObject_Malloc PyObject_Calloc PyObject_Realloc PyObject_Free pymalloc_alloc pymalloc_realloc pymalloc_free new_arena allocate_from_new_pool PyObject_ArenaMalloc PyObject_ArenaFree PyMem_ArenaAlloc PyMem_ArenaFree",
    // SQLite.
    "sqlite3MemMalloc sqlite3MemRealloc sqlite3MemFree sqlite3Malloc sqlite3MallocZero sqlite3Realloc mallocWithAlarm",
    "sqlite3_malloc sqlite3_malloc64 sqlite3_realloc sqlite3_realloc64 sqlite3_free",
    "sqlite3DbMallocRaw sqlite3DbMallocRawNN sqlite3DbMallocZero sqlite3DbRealloc sqlite3DbReallocOrFree sqlite3DbFree sqlite3DbFreeNN sqlite3DbNNFreeNN",
    "dbMallocRawFinish dbReallocFinish sqlite3DbStrDup sqlite3DbStrNDup sqlite3DbSpanDup measureAllocationSize",
    // OpenSSL.
    "OPENSSL_malloc OPENSSL_zalloc OPENSSL_realloc OPENSSL_free OPENSSL_strdup OPENSSL_strndup OPENSSL_memdup",
    "CRYPTO_malloc CRYPTO_zalloc CRYPTO_calloc CRYPTO_realloc CRYPTO_clear_realloc CRYPTO_free CRYPTO_clear_free CRYPTO_strdup CRYPTO_strndup CRYPTO_memdup CRYPTO_aligned_alloc CRYPTO_malloc_array CRYPTO_realloc_array CRYPTO_secure_malloc CRYPTO_secure_zalloc CRYPTO_secure_free CRYPTO_secure_clear_free",
    "default_malloc_ex default_realloc_ex",
    // Compression: what stands behind zlib's, bzip2's, xz's and zstd's allocator pointers.
    "zcalloc zcfree default_bzalloc default_bzfree lzma_alloc lzma_alloc_zero lzma_free",
    "ZSTD_customMalloc ZSTD_customCalloc ZSTD_customFree ZSTD_malloc ZSTD_free LZ4_malloc_heap BrotliDefaultAllocFunc BrotliDefaultFreeFunc BrotliAllocate BrotliFree",
    // Perl, Ruby, PHP, Lua, Guile.
    "Perl_safesysmalloc Perl_safesyscalloc Perl_safesysrealloc Perl_safesysfree Perl_savepv Perl_savepvn safesysmalloc safesyscalloc safesysrealloc safesysfree",
    "ruby_xmalloc ruby_xmalloc2 ruby_xcalloc ruby_xrealloc ruby_xrealloc2 ruby_xfree objspace_xmalloc0 objspace_xcalloc objspace_xrealloc objspace_xfree ruby_strdup",
    "zend_malloc zend_calloc zend_realloc zend_strndup safe_emalloc safe_erealloc",
    "l_alloc luaM_malloc_ luaM_realloc_ luaM_saferealloc_ luaM_free_ scm_malloc scm_calloc scm_realloc scm_strdup",
    // Media, graphics, documents, network.
    "av_malloc av_mallocz av_calloc av_realloc av_realloc_f av_realloc_array av_malloc_array av_reallocp av_free av_freep av_strdup av_strndup av_memdup av_fast_malloc av_fast_mallocz av_fast_realloc",
    "png_malloc png_calloc png_malloc_base png_malloc_default png_malloc_warn png_malloc_array png_realloc_array png_free png_free_default png_zalloc png_zfree",
    "jpeg_get_small jpeg_get_large jpeg_free_small jpeg_free_large TIFFmalloc TIFFrealloc TIFFfree TIFFMalloc TIFFCalloc TIFFRealloc TIFFFree",
    "SDL_malloc SDL_calloc SDL_realloc SDL_free SDL_strdup SDL_malloc_REAL SDL_calloc_REAL SDL_realloc_REAL SDL_free_REAL real_malloc real_calloc real_realloc real_free",
    "ft_alloc ft_free ft_realloc ft_mem_alloc ft_mem_qalloc ft_mem_realloc ft_mem_qrealloc ft_mem_free ft_mem_dup ft_mem_strdup",
    "hb_malloc hb_calloc hb_realloc hb_free pixman_malloc_ab pixman_malloc_abc pixman_malloc_ab_plus_c cairo_malloc",
    "xmlMalloc xmlRealloc xmlFree xmlMemMalloc xmlMemRealloc xmlMemFree xmlStrdup xmlStrndup xmlCharStrdup xmlCharStrndup",
    "Curl_memdup Curl_memdup0 Curl_saferealloc curl_easy_strdup curlx_malloc curlx_free event_mm_malloc_ event_mm_calloc_ event_mm_realloc_ event_mm_free_ event_mm_strdup_",
    "uv__malloc uv__calloc uv__realloc uv__reallocf uv__free uv__strdup uv__strndup",
    "memdup memdup_suffix0 malloc_multiply malloc0_multiply greedy_realloc greedy_realloc0 mfree dbus_malloc dbus_malloc0 dbus_realloc dbus_free",
    "json_malloc jsonp_malloc jsonp_free jsonp_strdup apr_malloc bfd_malloc bfd_realloc bfd_realloc_or_free bfd_zmalloc",
    "zmalloc zcalloc_num zrealloc zfree zstrdup ztrymalloc ztrycalloc ztryrealloc zmalloc_usable ztrymalloc_usable zrealloc_usable",
    "palloc_malloc pg_malloc pg_malloc0 pg_malloc_internal pg_malloc_extended pg_realloc pg_free pg_strdup",
];

static TABLE: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| NAMES.iter().flat_map(|line| line.split(' ')).collect());

/// Rust's entry points of allocation, when they are not in a path (before rustc 1.88).
const RUST: &[&str] = &[
    "__rust_alloc",
    "__rust_alloc_zeroed",
    "__rust_realloc",
    "__rust_dealloc",
    "__rdl_alloc",
    "__rdl_alloc_zeroed",
    "__rdl_realloc",
    "__rdl_dealloc",
    "__rg_alloc",
    "__rg_alloc_zeroed",
    "__rg_realloc",
    "__rg_dealloc",
];

/// Whether the C function of this name merely wraps the allocator.
pub(super) fn is_wrapper(name: &str) -> bool {
    let public = name
        .strip_prefix("__GI_")
        .unwrap_or(name)
        .trim_start_matches('_');
    TABLE.contains(public) || RUST.contains(&name)
}
