/* Parts of attachments: unmapped in the middle, moved away, with different protections; shmdt finds them. */
#include "../shm.h"
int main(void)
{
	int id = OK(shmget(IPC_PRIVATE, 8 * PAGE, 0600));
	char *p = attach(id, NULL, 0);
	fill(p, 8 * PAGE, 5);
	OK(munmap(p + 2 * PAGE, 3 * PAGE));
	/* Something else lies in the hole now. */
	char *other = mmap(p + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(other == p + 3 * PAGE);
	strcpy(other, "other");
	OK(mprotect(p + 6 * PAGE, PAGE, PROT_READ));
	char *q = attach(id, NULL, 0);
	char *room = map(8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mremap(q, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
	OK(munmap(room, 7 * PAGE));
	struct shmid_ds was = shm_state(id);
	checkpoint();
	shm_same(was, shm_state(id));
	filled(p, 2 * PAGE, 5, "the beginning");
	STR_EQ(other, "other");
	CHECK(!strcmp(maps_line(p + 2 * PAGE), ""));
	CHECK(strstr(maps_line(p + 6 * PAGE), " r--s "));
	EQ(((uint32_t *)(room + 7 * PAGE))[1], ((uint32_t *)(p + 7 * PAGE))[1]);
	room[7 * PAGE] = 'm';
	EQ(p[7 * PAGE], 'm');
	OK(shmdt(p));
	STR_EQ(other, "other");
	EQ(shm_state(id).shm_nattch, 1);
	OK(shmdt(room));
	EQ(shm_state(id).shm_nattch, 0);
	OK(shmctl(id, IPC_RMID, NULL));
	return pass();
}
