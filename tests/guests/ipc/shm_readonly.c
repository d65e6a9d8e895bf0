/* Attachments for reading stay so; one for writing that is protected now can be opened up again. */
#include "../shm.h"
#include <setjmp.h>
static sigjmp_buf out;
static void fault(int s)
{
	siglongjmp(out, 1);
}
int main(void)
{
	int id = OK(shmget(IPC_PRIVATE, 2 * PAGE, 0600));
	char *w = attach(id, NULL, 0), *r = attach(id, NULL, SHM_RDONLY), *x = attach(id, NULL, SHM_EXEC);
	w[0] = 'w';
	OK(mprotect(w, 2 * PAGE, PROT_READ));
	OK(shmctl(id, IPC_RMID, NULL));
	checkpoint();
	EQ(r[0], 'w');
	ERR(mprotect(r, 2 * PAGE, PROT_READ | PROT_WRITE), EACCES);
	CHECK(strstr(maps_line(x), " rwxs "));
	CHECK(strstr(maps_line(w), " r--s "));
	signal(SIGSEGV, fault);
	if (!sigsetjmp(out, 1)) {
		*(volatile char *)w = 1;
		FAIL("a write to a protected attachment went through");
	}
	signal(SIGSEGV, SIG_DFL);
	OK(mprotect(w, 2 * PAGE, PROT_READ | PROT_WRITE));
	w[1] = 'v';
	EQ(r[1], 'v');
	return pass();
}
