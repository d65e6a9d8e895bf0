/* It has a descriptor table of its own. */
#include "thread.h"
int main(void)
{
	return thread_that_leaves(CLONE_FILES);
}
