/* The slots of a user probe are left out; a further probe gets new ones. */
#include "../uprobes.h"
int main(void)
{
	probe_once();
	checkpoint();
	EQ(probed(3), 4);
	probe_once();
	return pass();
}
