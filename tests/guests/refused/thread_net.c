/* It lives in another network namespace. */
#include "thread.h"
int main(void)
{
	return thread_that_leaves(CLONE_NEWNET);
}
