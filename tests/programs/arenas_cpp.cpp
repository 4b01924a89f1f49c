// snhook.h as C++: a vector of texts that live in an arena.
#include "../../libsnhook/include/snhook.h"

#include <cstdio>
#include <cstring>
#include <vector>

int main() {
    snhook_arena arena = snhook_arena_create(nullptr);
    std::vector<const char *> texts;
    for (int i = 0; i < 1000; i++)
        if (const char *text = snhook_arena_strdup(arena, "text"))
            texts.push_back(text);
    bool good = true;
    for (const char *text : texts)
        good = good && snhook_arena_of(text) == arena && std::strcmp(text, "text") == 0;
    std::size_t count = 0;
    int status = snhook_arena_for_each(
        arena,
        [](void *, std::size_t, void *context) { return ++*static_cast<std::size_t *>(context), 0; },
        &count);
    std::printf("loaded=%d texts=%zu count=%zu status=%d good=%d\n", snhook_loaded(), texts.size(), count, status, good);
    snhook_arena_destroy(arena);
    return good ? 0 : 1;
}
