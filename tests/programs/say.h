/* Printing without allocating: what a test program says must not show in its own trace. */
#ifndef SAY_H
#define SAY_H
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

__attribute__((format(printf, 1, 2), unused)) static void say(const char *format, ...)
{
    char text[4000];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* One write: lines of several processes on one pipe stay whole. */
    if (write(1, text, (size_t)length) != length)
        _exit(99);
}

/* `(nil)` and lower-case hex, as printf's %p of both glibc and the contract; musl prints 0. */
__attribute__((unused)) static const char *pointer_text(const void *block, char text[32])
{
    if (block)
        snprintf(text, 32, "0x%lx", (unsigned long)block);
    else
        snprintf(text, 32, "(nil)");
    return text;
}
#endif
