/* Handlers with and without siginfo, masks, an alternate stack, a pending signal, and one for SIGTRAP. */
#include "../x32.h"
#define IA32_H
#include "../ia32/signals.c"
