/* A module whose code ends with a call, at the end of a page. */
#ifdef __x86_64__
__asm__(".text\n"
        ".globl last_of_module\n"
        ".type last_of_module, @function\n"
        ".balign 4096\n"
        ".skip 4096 - 6, 0x90\n"
        "last_of_module:\n"
        ".cfi_startproc\n"
        "    sub $8, %rsp\n"
        ".cfi_adjust_cfa_offset 8\n"
        "    call *%rdi\n"
        ".cfi_endproc\n"
        ".size last_of_module, . - last_of_module\n");
#else
__attribute__((noreturn)) void last_of_module(void (*leave)(void))
{
    leave();
    __builtin_unreachable();
}
#endif
