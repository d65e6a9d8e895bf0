/* Control groups of a guest's own. They lie in a group with the name of the guest's folder, by which the harness finds
 * and removes them. A hierarchy is named as in /proc/PID/cgroup: "memory", "name=systemd", "" for version 2. */
#include "guest.h"

/* Where a hierarchy is mounted; the guest is skipped where it is not. */
static inline const char *cg_mount(const char *hierarchy)
{
	static __thread char found[512];
	char line[2048], point[512], type[64], options[512];
	FILE *f = fopen("/proc/self/mounts", "re");
	CHECK(f);
	found[0] = 0;
	while (!found[0] && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%*s %511s %63s %511s", point, type, options) != 3)
			continue;
		bool v2 = !strcmp(type, "cgroup2");
		if (v2 && !*hierarchy)
			strcpy(found, point);
		if (strcmp(type, "cgroup") || !*hierarchy)
			continue;
		for (char *o = strtok(options, ","); o; o = strtok(NULL, ","))
			if (!strcmp(o, hierarchy))
				strcpy(found, point);
	}
	fclose(f);
	if (!found[0])
		SKIP("the control group hierarchy '%s' is not mounted", hierarchy);
	return found;
}

/* The path of a group below the guest's own ("" is that itself), from the root of the hierarchy. */
static inline const char *cg_name(const char *group)
{
	static __thread char name[512];
	snprintf(name, sizeof name, "/%s%s%s", strrchr(guest_dir, '/') + 1, *group ? "/" : "", group);
	return name;
}

/* The path of a file of a group, or of the group. */
static inline const char *cg_file(const char *hierarchy, const char *group, const char *file)
{
	static __thread char path[2048];
	snprintf(path, sizeof path, "%s%s%s%s", cg_mount(hierarchy), cg_name(group), *file ? "/" : "", file);
	return path;
}

static inline bool cg_exists(const char *hierarchy, const char *group)
{
	return access(cg_file(hierarchy, group, ""), F_OK) == 0;
}

static inline bool cg_has(const char *hierarchy, const char *group, const char *file)
{
	return access(cg_file(hierarchy, group, file), F_OK) == 0;
}

static inline void cg_put(const char *hierarchy, const char *group, const char *file, const char *text)
{
	if (put(cg_file(hierarchy, group, file), text))
		FAIL("write '%s' to %s: %s", text, cg_file(hierarchy, group, file), strerror(errno));
}

/* What a file says, without its last newline. */
static inline const char *cg_get(const char *hierarchy, const char *group, const char *file)
{
	static __thread char text[4096];
	const char *path = cg_file(hierarchy, group, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		FAIL("open %s: %s", path, strerror(errno));
	ssize_t n = OK(read(fd, text, sizeof text - 1));
	close(fd);
	text[n] = 0;
	if (n && text[n - 1] == '\n')
		text[n - 1] = 0;
	return text;
}

/* Makes a group; the one above it is there. A cpuset gets what the one above has. */
static inline void cg_make(const char *hierarchy, const char *group)
{
	char path[2048];
	snprintf(path, sizeof path, "%s", cg_file(hierarchy, group, ""));
	if (mkdir(path, 0755))
		FAIL("mkdir %s: %s", path, strerror(errno));
	if (strcmp(hierarchy, "cpuset"))
		return;
	for (int i = 0; i < 2; i++) {
		const char *file = i ? "cpuset.mems" : "cpuset.cpus";
		char above[4096], text[256];
		snprintf(above, sizeof above, "%s/../%s", path, file);
		int fd = OK(open(above, O_RDONLY | O_CLOEXEC));
		ssize_t n = OK(read(fd, text, sizeof text - 1));
		close(fd);
		text[n] = 0;
		cg_put(hierarchy, group, file, text);
	}
}

/* Moves the calling process. */
static inline void cg_enter(const char *hierarchy, const char *group)
{
	cg_put(hierarchy, group, "cgroup.procs", "0");
}

/* Moves the calling thread. */
static inline void cg_enter_thread(const char *hierarchy, const char *group)
{
	cg_put(hierarchy, group, *hierarchy ? "tasks" : "cgroup.threads", "0");
}

/* The path of the calling thread's group in a hierarchy. */
static inline const char *cg_own(const char *hierarchy)
{
	static __thread char line[2048];
	char path[64];
	snprintf(path, sizeof path, "/proc/self/task/%d/cgroup", (int)syscall(SYS_gettid));
	FILE *f = fopen(path, "re");
	CHECK(f);
	while (fgets(line, sizeof line, f)) {
		char *name = strchr(line, ':') + 1, *at = strchr(name, ':');
		*at++ = 0;
		at[strcspn(at, "\n")] = 0;
		bool found = !strcmp(name, hierarchy);
		for (char *part = strtok(name, ","); part && !found; part = strtok(NULL, ","))
			found = !strcmp(part, hierarchy);
		if (found) {
			fclose(f);
			return at;
		}
	}
	FAIL("%s has no hierarchy '%s'", path, hierarchy);
}

/* The calling thread is in that group of the guest's. */
#define CG_IN(hierarchy, group) STR_EQ(cg_own(hierarchy), cg_name(group))
