/* Uses every function of snhook.h, and says what it saw. Without the hook each does nothing. */
#define _POSIX_C_SOURCE 200809L
#include "../../libsnhook/include/snhook.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures;

#define CHECK(condition)                                             \
    do {                                                             \
        if (!(condition)) {                                          \
            printf("line %d: %s\n", __LINE__, #condition);           \
            failures++;                                              \
        }                                                            \
    } while (0)

static int sum(void *block, size_t size, void *context) {
    (void)block;
    *(size_t *)context += size;
    return 0;
}

static int stop(void *block, size_t size, void *context) {
    (void)block, (void)size, (void)context;
    return 1;
}

static void without_the_hook(void) {
    snhook_arena_statistics stats = SNHOOK_ARENA_STATISTICS_INIT;
    CHECK(snhook_arena_create(NULL) == SNHOOK_NO_ARENA);
    CHECK(snhook_arena_destroy(1) == SNHOOK_NOT_LOADED);
    CHECK(snhook_arena_reset(1) == SNHOOK_NOT_LOADED);
    CHECK(snhook_arena_alloc(1, 1) == NULL);
    CHECK(snhook_arena_calloc(1, 1, 1) == NULL);
    CHECK(snhook_arena_aligned_alloc(1, 16, 1) == NULL);
    CHECK(snhook_arena_realloc(1, NULL, 1) == NULL);
    CHECK(snhook_arena_strdup(1, "") == NULL);
    CHECK(snhook_arena_strndup(1, "", 1) == NULL);
    CHECK(snhook_arena_usable_size(&stats) == 0);
    CHECK(snhook_arena_of(&stats) == SNHOOK_NO_ARENA);
    CHECK(snhook_arena_address_state(&stats) == SNHOOK_FOREIGN);
    CHECK(snhook_arena_parent(1) == SNHOOK_NO_ARENA);
    CHECK(snhook_arena_stats(1, &stats) == SNHOOK_NOT_LOADED);
    CHECK(snhook_arena_for_each(1, sum, NULL) == SNHOOK_NOT_LOADED);
}

static void with_the_hook(void) {
    snhook_arena_options options = SNHOOK_ARENA_OPTIONS_INIT;
    snhook_arena_statistics stats = SNHOOK_ARENA_STATISTICS_INIT;
    snhook_arena arena, child;
    char *text, *block, *moved;
    void *foreign = malloc(100);
    size_t bytes = 0;

    CHECK(snhook_arena_of(foreign) == SNHOOK_NO_ARENA);
    arena = snhook_arena_create(NULL);
    CHECK(arena != SNHOOK_NO_ARENA);
    options.parent = arena;
    options.limit = 1000;
    child = snhook_arena_create(&options);
    CHECK(child != SNHOOK_NO_ARENA && snhook_arena_parent(child) == arena);

    text = snhook_arena_strdup(arena, "a text");
    CHECK(text && strcmp(text, "a text") == 0);
    CHECK(snhook_arena_usable_size(text) >= 7);
    text = snhook_arena_strndup(arena, "a text", 3);
    CHECK(text && strcmp(text, "a t") == 0);
    block = (char *)snhook_arena_aligned_alloc(arena, 65536, 100);
    CHECK(block && (uintptr_t)block % 65536 == 0);
    CHECK(snhook_arena_aligned_alloc(arena, 3, 100) == NULL);
    CHECK(snhook_arena_aligned_alloc(arena, 131072, 100) == NULL);
    CHECK(snhook_arena_calloc(arena, SIZE_MAX / 2, 3) == NULL);
    CHECK(snhook_arena_alloc(arena, SIZE_MAX) == NULL);
    block = (char *)snhook_arena_calloc(arena, 10, 10);
    CHECK(block && block[0] == 0 && block[99] == 0);
    memset(block, 'x', 100);
    /* The last one grows where it is; then it is the last one no more. */
    CHECK(snhook_arena_realloc(arena, block, 200) == block);
    CHECK(snhook_arena_alloc(arena, 0) != NULL);
    moved = (char *)snhook_arena_realloc(arena, block, 100000);
    CHECK(moved && moved != block && moved[99] == 'x');
    /* Moved away, foreign, inside, of another arena: refused. */
    CHECK(snhook_arena_realloc(arena, block, 1) == NULL);
    CHECK(snhook_arena_realloc(arena, foreign, 1) == NULL);
    CHECK(snhook_arena_realloc(arena, moved + 16, 1) == NULL);
    CHECK(snhook_arena_realloc(child, moved, 1) == NULL);
    CHECK(snhook_arena_usable_size(foreign) == 0);
    CHECK(snhook_arena_of(moved) == arena && snhook_arena_of(moved + 99999) == arena);
    CHECK(snhook_arena_address_state(moved) == SNHOOK_LIVE);

    errno = 0;
    block = (char *)snhook_arena_alloc(child, 900);
    CHECK(block && snhook_arena_of(block) == child);
    CHECK(snhook_arena_alloc(child, 100) == NULL && errno == 0);
    CHECK(snhook_arena_stats(child, &stats) == SNHOOK_OK);
    CHECK(stats.limit == 1000 && stats.limit_hits == 1 && stats.blocks == 1 && stats.bytes == 900);
    CHECK(snhook_arena_stats(child, NULL) == SNHOOK_BAD_ARGUMENT);
    CHECK(snhook_arena_for_each(arena, sum, &bytes) == SNHOOK_OK);
    CHECK(snhook_arena_stats(arena, &stats) == SNHOOK_OK);
    CHECK(stats.children == 1 && stats.blocks == 5 && stats.bytes == bytes && bytes == 7 + 4 + 100 + 0 + 100000);
    CHECK(snhook_arena_for_each(arena, stop, NULL) == SNHOOK_STOPPED);
    CHECK(snhook_arena_for_each(arena, NULL, NULL) == SNHOOK_BAD_ARGUMENT);

    CHECK(snhook_arena_reset(arena) == SNHOOK_OK);
    CHECK(snhook_arena_reset(child) == SNHOOK_BAD_ARENA);
    CHECK(snhook_arena_realloc(arena, text, 1) == NULL);
    CHECK(snhook_arena_stats(arena, &stats) == SNHOOK_OK);
    CHECK(stats.blocks == 0 && stats.bytes == 0 && stats.children == 0 && stats.bytes_peak >= bytes);
    /* The chunk that was kept is not zero. */
    block = (char *)snhook_arena_calloc(arena, 1, 60000);
    CHECK(block && block[0] == 0 && memcmp(block, block + 1, 59999) == 0);
    CHECK(snhook_arena_destroy(arena) == SNHOOK_OK);
    CHECK(snhook_arena_destroy(arena) == SNHOOK_BAD_ARENA);
    CHECK(snhook_arena_alloc(arena, 1) == NULL);
    CHECK(snhook_arena_of(block) == SNHOOK_NO_ARENA && snhook_arena_address_state(block) == SNHOOK_DEAD);
    CHECK(snhook_arena_create(&options) == SNHOOK_NO_ARENA);
    options.parent = SNHOOK_NO_ARENA;
    options.flags = 1;
    CHECK(snhook_arena_create(&options) == SNHOOK_NO_ARENA);
    free(foreign);
}

/* Parent and child have an arena each, of the same name. */
static void across_a_fork(void) {
    snhook_arena arena = snhook_arena_create(NULL);
    char *text = snhook_arena_strdup(arena, "parent");
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        text[0] = 'c';
        CHECK(snhook_arena_of(text) == arena);
        CHECK(snhook_arena_destroy(arena) == SNHOOK_OK);
        CHECK(snhook_arena_address_state(text) == SNHOOK_DEAD);
        CHECK(snhook_arena_alloc(snhook_arena_create(NULL), 100) != NULL);
        _exit(failures != 0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(strcmp(text, "parent") == 0 && snhook_arena_of(text) == arena);
    CHECK(snhook_arena_destroy(arena) == SNHOOK_OK);
}

int main(void) {
    int loaded = snhook_loaded();
    if (loaded) {
        with_the_hook();
        across_a_fork();
    } else {
        without_the_hook();
    }
    printf("loaded=%d failures=%d\n", loaded, failures);
    return failures != 0;
}
