/* Trees that grew at random: processes fork children and siblings, begin sessions and groups, take orphans over, end, and
   are reaped or not. */
#include "../guest.h"
#include <stdatomic.h>
#define MOST 400
#define TREES 10
struct kin {
	pid_t pid;
	char line[160];
};
static struct {
	_Atomic int made, waiting, ended;
	struct kin kins[MOST];
} *all;
static unsigned draw(unsigned *seed, unsigned below)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 16 & 0x7fff ? (*seed >> 16 & 0x7fff) % below : 0;
}
/* Its place is known before it is there, so that nobody who looks misses it. */
static int next_place(void)
{
	int place = atomic_fetch_add(&all->made, 1);
	CHECK(place < MOST);
	return place;
}
/* A process with what is below it. */
static void grow(int place, unsigned seed, int depth, bool ends)
{
	all->kins[place].pid = getpid();
	unsigned children = depth < 5 ? draw(&seed, 4) : 0, session = draw(&seed, 6);
	if (draw(&seed, 6) == 0)
		OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	for (unsigned i = 0; i <= children; i++) {
		/* Before the first, between, or after the last child; for some never. */
		if (i == session && getsid(0) != getpid())
			draw(&seed, 3) ? (void)setsid() : (void)setpgid(0, 0);
		if (i == children)
			break;
		unsigned below = draw(&seed, 32768) * 77 + i;
		bool child_ends = draw(&seed, 3) == 0, reaped = draw(&seed, 2);
		int child = next_place();
		bool sibling = depth > 0 && draw(&seed, 5) == 0;
		pid_t pid = OK(syscall(SYS_clone, (sibling ? CLONE_PARENT : 0) | SIGCHLD, NULL, NULL, NULL, NULL));
		if (!pid)
			grow(child, below, depth + 1, child_ends);
		if (child_ends && reaped && !sibling)
			EQ(waitpid(pid, NULL, 0), pid);
	}
	if (ends) {
		all->ended++;
		_exit(3);
	}
	all->waiting++;
	wait_go();
	for (;;)
		pause();
}
/* State, parent, group and session. */
static bool look(pid_t pid, char line[160])
{
	char path[64], text[1024];
	int parent, group, session;
	char state;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return snprintf(line, 160, "gone"), false;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return snprintf(line, 160, "gone"), false;
	text[n] = 0;
	EQ(sscanf(strrchr(text, ')') + 2, "%c %d %d %d", &state, &parent, &group, &session), 4);
	snprintf(line, 160, "%s, parent %d, group %d, session %d", state == 'Z' ? "dead" : "alive", parent, group, session);
	return state != 'Z';
}
int main(void)
{
	char line[160];
	all = map(sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	unsigned seed = 20;
	for (int tree = 0; tree < TREES; tree++) {
		unsigned own = draw(&seed, 32768) * 31 + tree;
		int place = next_place();
		if (!OK(fork()))
			grow(place, own, 0, false);
	}
	/* All have come to rest, and those that end are dead for everyone. */
	for (int calm = 0; calm < 2;) {
		int made = all->made, dead = 0;
		for (int i = 0; i < made; i++)
			dead += !all->kins[i].pid || !look(all->kins[i].pid, line);
		calm = all->waiting + all->ended == made && made == all->made && dead == all->ended ? calm + 1 : 0;
		sched_yield();
	}
	int made = all->made, sessions = 0;
	for (int i = 0; i < made; i++)
		look(all->kins[i].pid, all->kins[i].line);
	checkpoint();
	for (int i = 0; i < made; i++) {
		look(all->kins[i].pid, line);
		if (strcmp(line, all->kins[i].line))
			FAIL("process %d was %s, and is %s", all->kins[i].pid, all->kins[i].line, line);
		sessions += strcmp(line, "gone") && getsid(all->kins[i].pid) == all->kins[i].pid;
	}
	CHECK(sessions > 3);
	for (int i = 0; i < made; i++)
		if (strcmp(all->kins[i].line, "gone"))
			kill(all->kins[i].pid, SIGKILL);
	while (wait(NULL) > 0)
		;
	return pass();
}
