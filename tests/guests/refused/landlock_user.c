/* A process of another user is confined by Landlock. */
#define OTHER_USER
#include "landlock_confined.c"
