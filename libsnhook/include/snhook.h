/* Arenas, as a C API of sntrace's hook: memory that goes as a whole.
 *
 * C99 and C++11, GCC and Clang. Nothing is linked: the functions are found in the hook if the program runs
 * under sntrace (or with libsnhook.so preloaded), and otherwise each call does nothing and returns what
 * is said below: NULL, 0, SNHOOK_NO_ARENA or SNHOOK_NOT_LOADED. snhook_loaded() tells. In an executable that is
 * linked with -no-pie, the linker decides that they are not there: so it is always without.
 *
 *     snhook_arena arena = snhook_arena_create(NULL);
 *     char *name = snhook_arena_strdup(arena, "arena");
 *     ...
 *     snhook_arena_destroy(arena);
 *
 * Handles are checked numbers: a call with the handle of a destroyed arena is refused, for ever.
 *
 * Threads: an arena, its parents and its children belong to one thread at a time; the program sees to that,
 * with a lock of its own if it must. (There is no flag for arenas that many threads use at once yet.)
 * Different trees of arenas are independent, and snhook_arena_of, snhook_arena_address_state and
 * snhook_arena_create without a parent may be called at any time.
 *
 * After a fork, parent and child each have all arenas, with the same handles, and go their own ways.
 *
 * No function changes errno, also where memory or an arena's limit has run out. */
#ifndef SNHOOK_H
#define SNHOOK_H

#include <stddef.h>
#include <stdint.h>

/* A minor version adds to the ones before it; a major version does not fit them. */
#define SNHOOK_VERSION_MAJOR 0
#define SNHOOK_VERSION_MINOR 1

#ifdef __cplusplus
extern "C" {
#endif

/* An arena. */
typedef uint64_t snhook_arena;
#define SNHOOK_NO_ARENA ((snhook_arena)0)

/* What functions that return an int return. */
enum snhook_status {
    SNHOOK_OK = 0,
    SNHOOK_STOPPED = 1,       /* A callback wanted no more. */
    SNHOOK_NOT_LOADED = -1,   /* The hook is not there. */
    SNHOOK_BAD_ARENA = -2,    /* No handle, or that of a destroyed arena. */
    SNHOOK_BAD_ARGUMENT = -3, /* A null pointer. */
    SNHOOK_DAMAGED = -4       /* The program wrote beyond a block. */
};

/* Whose an address is. */
enum snhook_address_state {
    SNHOOK_FOREIGN = 0, /* Never an arena's. */
    SNHOOK_LIVE = 1,    /* A live arena's. */
    SNHOOK_DEAD = 2     /* An arena's that gave it back: destroyed, or reset. */
};

/* How an arena is to be. */
typedef struct snhook_arena_options {
    size_t struct_size;    /* sizeof of this structure, of the version that the program knows. */
    size_t flags;          /* 0. */
    snhook_arena parent;   /* The arena with which this one is destroyed at the latest. */
    size_t block_size;     /* Bytes that are taken at once, a multiple of 64 KiB, at most 1 GiB; 0: as many as there are
                              already, at most 4 MiB. Blocks that need more than a quarter get memory of their own. */
    size_t limit;          /* Bytes that blocks may take, as counted in bytes_used; 0: any. */
} snhook_arena_options;
#define SNHOOK_ARENA_OPTIONS_INIT { sizeof(snhook_arena_options), 0, SNHOOK_NO_ARENA, 0, 0 }

/* What there is to know of an arena. A reset empties it, but for totals, peak and hits. */
typedef struct snhook_arena_statistics {
    size_t struct_size;  /* sizeof of this structure, of the version that the program knows. */
    size_t blocks;       /* Blocks that live. */
    size_t blocks_total; /* Blocks ever given; a realloc that copies gives one. */
    size_t bytes;        /* Bytes asked for in blocks that live. */
    size_t bytes_total;  /* Bytes ever asked for; of a realloc in place, what was added. */
    size_t bytes_peak;   /* The most that bytes has been. */
    size_t bytes_used;   /* Bytes with headers (8 a block), rounding and alignment, and what resized blocks left. */
    size_t spans;        /* Memory taken, in units of 64 KiB of addresses. */
    size_t limit;        /* As asked for. */
    size_t limit_hits;   /* Calls that failed because of it. */
    size_t children;     /* Arenas whose parent this is. */
} snhook_arena_statistics;
#define SNHOOK_ARENA_STATISTICS_INIT { sizeof(snhook_arena_statistics), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Called with a block, its size as asked for, and the caller's own pointer. 0: go on. */
typedef int (*snhook_arena_callback)(void *block, size_t size, void *context);

/* The functions in the hook: null where it is not loaded. */
#define SNHOOK_IMPORT __attribute__((weak)) extern
SNHOOK_IMPORT int snhook_api_version(void);
SNHOOK_IMPORT snhook_arena snhook_arena_create(const snhook_arena_options *options);
SNHOOK_IMPORT int snhook_arena_destroy(snhook_arena arena);
SNHOOK_IMPORT int snhook_arena_reset(snhook_arena arena);
SNHOOK_IMPORT void *snhook_arena_alloc(snhook_arena arena, size_t size);
SNHOOK_IMPORT void *snhook_arena_calloc(snhook_arena arena, size_t count, size_t size);
SNHOOK_IMPORT void *snhook_arena_aligned_alloc(snhook_arena arena, size_t alignment, size_t size);
SNHOOK_IMPORT void *snhook_arena_realloc(snhook_arena arena, void *block, size_t size);
SNHOOK_IMPORT char *snhook_arena_strdup(snhook_arena arena, const char *text);
SNHOOK_IMPORT char *snhook_arena_strndup(snhook_arena arena, const char *text, size_t most);
SNHOOK_IMPORT size_t snhook_arena_usable_size(const void *block);
SNHOOK_IMPORT snhook_arena snhook_arena_of(const void *address);
SNHOOK_IMPORT int snhook_arena_address_state(const void *address);
SNHOOK_IMPORT snhook_arena snhook_arena_parent(snhook_arena arena);
SNHOOK_IMPORT int snhook_arena_stats(snhook_arena arena, snhook_arena_statistics *stats);
SNHOOK_IMPORT int snhook_arena_for_each(snhook_arena arena, snhook_arena_callback callback, void *context);
#undef SNHOOK_IMPORT

/* Whether the hook is there, in a version that fits this header. */
static inline int snhook_loaded(void) {
    int version = snhook_api_version ? snhook_api_version() : -1;
    return version >= 0 && version >> 16 == SNHOOK_VERSION_MAJOR && (version & 0xffff) >= SNHOOK_VERSION_MINOR;
}

/* Makes an arena. NULL stands for SNHOOK_ARENA_OPTIONS_INIT. SNHOOK_NO_ARENA where a flag is unknown, the
 * parent is not alive, or addresses or places have run out (there is one place for each MiB of the
 * reserved range, a million where 1 TiB of addresses can be had). An arena without blocks has no memory. */
static inline snhook_arena snhook_call_arena_create(const snhook_arena_options *options) {
    return snhook_arena_create ? snhook_arena_create(options) : SNHOOK_NO_ARENA;
}

/* Destroys an arena with all its blocks, its children first. From then on its handle is refused and its
 * addresses have no memory until they are used again, which happens as late as possible. */
static inline int snhook_call_arena_destroy(snhook_arena arena) {
    return snhook_arena_destroy ? snhook_arena_destroy(arena) : SNHOOK_NOT_LOADED;
}

/* Drops all blocks and destroys the children. The arena keeps its handle, totals, peak and the chunk that
 * was in use, so that the next blocks cost no system call. */
static inline int snhook_call_arena_reset(snhook_arena arena) {
    return snhook_arena_reset ? snhook_arena_reset(arena) : SNHOOK_NOT_LOADED;
}

/* A block, aligned to 16 bytes. Of size 0 too: an address of its own. */
static inline void *snhook_call_arena_alloc(snhook_arena arena, size_t size) {
    return snhook_arena_alloc ? snhook_arena_alloc(arena, size) : NULL;
}

/* A zeroed block. NULL also where count * size overflows. */
static inline void *snhook_call_arena_calloc(snhook_arena arena, size_t count, size_t size) {
    return snhook_arena_calloc ? snhook_arena_calloc(arena, count, size) : NULL;
}

/* A block at a multiple of alignment: a power of two, at most 65536. size is any size. */
static inline void *snhook_call_arena_aligned_alloc(snhook_arena arena, size_t alignment, size_t size) {
    return snhook_arena_aligned_alloc ? snhook_arena_aligned_alloc(arena, alignment, size) : NULL;
}

/* Another size for a block of this arena: in place if it shrinks or is the last one of its chunk, else a
 * copy, aligned to 16 bytes. The room that it leaves is not used again before a reset. NULL for a block is
 * an alloc; size 0 is a size like any other. Returns NULL, and the block stays as it is, where there is no
 * room, and where the block is not a live one of this arena. */
static inline void *snhook_call_arena_realloc(snhook_arena arena, void *block, size_t size) {
    return snhook_arena_realloc ? snhook_arena_realloc(arena, block, size) : NULL;
}

/* A copy of a text. NULL for NULL. */
static inline char *snhook_call_arena_strdup(snhook_arena arena, const char *text) {
    return snhook_arena_strdup ? snhook_arena_strdup(arena, text) : NULL;
}

/* A copy of at most so many bytes of a text, and a zero. NULL for NULL. */
static inline char *snhook_call_arena_strndup(snhook_arena arena, const char *text, size_t most) {
    return snhook_arena_strndup ? snhook_arena_strndup(arena, text, most) : NULL;
}

/* How many bytes of a block may be used: what was asked for, rounded up. 0 for any other address. */
static inline size_t snhook_call_arena_usable_size(const void *block) {
    return snhook_arena_usable_size ? snhook_arena_usable_size(block) : 0;
}

/* The live arena that an address belongs to: any address inside its blocks, and the room around them.
 * Nothing is read at the address. SNHOOK_NO_ARENA for all other addresses. */
static inline snhook_arena snhook_call_arena_of(const void *address) {
    return snhook_arena_of ? snhook_arena_of(address) : SNHOOK_NO_ARENA;
}

/* SNHOOK_FOREIGN, SNHOOK_LIVE or SNHOOK_DEAD. After a reset the chunk that is kept stays live. */
static inline int snhook_call_arena_address_state(const void *address) {
    return snhook_arena_address_state ? snhook_arena_address_state(address) : SNHOOK_FOREIGN;
}

/* The parent, or SNHOOK_NO_ARENA. */
static inline snhook_arena snhook_call_arena_parent(snhook_arena arena) {
    return snhook_arena_parent ? snhook_arena_parent(arena) : SNHOOK_NO_ARENA;
}

/* Fills in the statistics. stats->struct_size is set by the caller: SNHOOK_ARENA_STATISTICS_INIT. */
static inline int snhook_call_arena_stats(snhook_arena arena, snhook_arena_statistics *stats) {
    return snhook_arena_stats ? snhook_arena_stats(arena, stats) : SNHOOK_NOT_LOADED;
}

/* Calls back with every live block, in no particular order, until the callback returns another number than
 * 0: then SNHOOK_STOPPED, as also after it has reset or destroyed the arena. It may allocate, but resize
 * nothing, and must not be left by an exception. SNHOOK_DAMAGED where a block's header was overwritten. */
static inline int snhook_call_arena_for_each(snhook_arena arena, snhook_arena_callback callback, void *context) {
    return snhook_arena_for_each ? snhook_arena_for_each(arena, callback, context) : SNHOOK_NOT_LOADED;
}

/* From here on the names stand for the calls that ask first. */
#define snhook_arena_create snhook_call_arena_create
#define snhook_arena_destroy snhook_call_arena_destroy
#define snhook_arena_reset snhook_call_arena_reset
#define snhook_arena_alloc snhook_call_arena_alloc
#define snhook_arena_calloc snhook_call_arena_calloc
#define snhook_arena_aligned_alloc snhook_call_arena_aligned_alloc
#define snhook_arena_realloc snhook_call_arena_realloc
#define snhook_arena_strdup snhook_call_arena_strdup
#define snhook_arena_strndup snhook_call_arena_strndup
#define snhook_arena_usable_size snhook_call_arena_usable_size
#define snhook_arena_of snhook_call_arena_of
#define snhook_arena_address_state snhook_call_arena_address_state
#define snhook_arena_parent snhook_call_arena_parent
#define snhook_arena_stats snhook_call_arena_stats
#define snhook_arena_for_each snhook_call_arena_for_each

#ifdef __cplusplus
}
#endif

#endif
