/* A program with an arena of its own that packs and unpacks a text with zlib: the README's
 * example, and the familiar picture of zlib's blocks. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "say.h"

typedef struct rt_arena {
    struct rt_arena *parent;
    char *start, *next, *end;
    size_t used, chunks, limit, reserved[2];
} rt_arena; /* 72 bytes */

rt_arena *rt_arena_create_sized(size_t size)
{
    rt_arena *arena = malloc(sizeof *arena);
    memset(arena, 0, sizeof *arena);
    arena->start = arena->next = malloc(size);
    arena->end = arena->start + size;
    return arena;
}

void *rt_arena_take(rt_arena *arena, size_t size)
{
    void *at = arena->next;
    arena->next += size;
    return at;
}

void rt_arena_destroy(rt_arena *arena)
{
    free(arena->start);
    free(arena);
}

static size_t pack(unsigned char *text, size_t length, unsigned char *out, size_t room)
{
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    if (deflateInit(&stream, Z_DEFAULT_COMPRESSION) != Z_OK)
        exit(1);
    stream.next_in = text;
    stream.avail_in = (unsigned)length;
    stream.next_out = out;
    stream.avail_out = (unsigned)room;
    if (deflate(&stream, Z_FINISH) != Z_STREAM_END)
        exit(2);
    deflateEnd(&stream);
    return stream.total_out;
}

static size_t unpack(unsigned char *packed, size_t length, unsigned char *out, size_t room)
{
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    if (inflateInit(&stream) != Z_OK)
        exit(3);
    stream.next_in = packed;
    stream.avail_in = (unsigned)length;
    stream.next_out = out;
    stream.avail_out = (unsigned)room;
    if (inflate(&stream, Z_FINISH) != Z_STREAM_END)
        exit(4);
    inflateEnd(&stream);
    return stream.total_out;
}

int main(void)
{
    enum { LENGTH = 20000, ROOM = 30000 };
    rt_arena *arena = rt_arena_create_sized(100000);
    unsigned char *text = rt_arena_take(arena, LENGTH);
    unsigned char *packed = rt_arena_take(arena, ROOM);
    unsigned char *back = rt_arena_take(arena, ROOM);
    for (int i = 0; i < LENGTH; i++)
        text[i] = (unsigned char)("allocation"[i % 10] + i / 1000);
    size_t packed_length = pack(text, LENGTH, packed, ROOM);
    size_t length = unpack(packed, packed_length, back, ROOM);
    int same = length == LENGTH && !memcmp(text, back, LENGTH);
    rt_arena_destroy(arena);
    say("same=%d\n", same);
    return !same;
}
