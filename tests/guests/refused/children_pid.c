/* Its children are to live in another namespace of process ids. */
#include "../guest.h"
int main(void)
{
	if (unshare(CLONE_NEWPID))
		SKIP("unshare(CLONE_NEWPID): %s", strerror(errno));
	checkpoint();
	return pass();
}
