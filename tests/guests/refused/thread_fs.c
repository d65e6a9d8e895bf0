/* It has a root, a working directory and a umask of its own. */
#include "thread.h"
int main(void)
{
	return thread_that_leaves(CLONE_FS);
}
