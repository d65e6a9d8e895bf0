/* One thread of several is confined by Landlock. */
#define ONE_THREAD
#include "landlock_confined.c"
