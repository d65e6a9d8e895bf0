/* A child, alive, and one that is dead. */
#include "../x32.h"
#define IA32_H
#include "../ia32/forked.c"
