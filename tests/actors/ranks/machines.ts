/** Two machines on this one: namespaces of Linux with networks and names of their own, joined by a cable. It takes root. */

/** Machines that ranks are started on. */
export interface Machines {
  /** What stands in front of a launcher: it runs on the first machine. */
  prefix: readonly string[];
  /** What Open MPI's launcher is told: a rank on each, and no other way than the network. */
  args: readonly string[];
  /** Bytes that the second machine has sent. */
  sentBytes(): Promise<number>;
  /** Pulls out the cable, or plugs it in again. */
  setCable(state: "up" | "down"): Promise<void>;
}

const HOSTS = ["10.9.0.1", "10.9.0.2"];
const namespaceOf = (host: string) => `seed-${host}`;

/** Runs what stands behind it on a machine whose address is the shell's first argument. */
const ENTER =
  'host=$1; shift; exec ip netns exec "seed-$host" unshare --uts sh -c \'hostname "$0"; exec "$@"\' "seed-$host"';

async function ip(...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("ip", { args }).output();
  const text = new TextDecoder();
  if (!success) throw new Error(`ip ${args.join(" ")}: ${text.decode(stderr)}`);
  return text.decode(stdout);
}

/** Makes two machines, and takes them away when `use` is done. */
export async function withMachines(use: (machines: Machines) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "seed_machines_" });
  const remove = () => Promise.allSettled(HOSTS.map((host) => ip("netns", "delete", namespaceOf(host))));
  try {
    await remove(); // what a broken test left
    for (const host of HOSTS) await ip("netns", "add", namespaceOf(host));
    await ip("link", "add", "seed0", "type", "veth", "peer", "name", "seed1");
    for (const [i, host] of HOSTS.entries()) {
      const [of, cable] = [namespaceOf(host), `seed${i}`];
      await ip("link", "set", cable, "netns", of);
      await ip("-n", of, "address", "add", `${host}/24`, "dev", cable);
      for (const device of [cable, "lo"]) await ip("-n", of, "link", "set", device, "up");
    }
    // What mpirun uses in the place of ssh.
    const agent = `${folder}/agent`;
    Deno.writeTextFileSync(agent, `#!/bin/sh\n${ENTER} sh -c "$*"\n`, { mode: 0o755 });
    const hostfile = `${folder}/hosts`;
    Deno.writeTextFileSync(hostfile, HOSTS.map((host) => `${host} slots=1\n`).join(""));
    const settings = {
      plm_rsh_agent: agent,
      pml: "ob1",
      btl: "tcp,self",
      btl_tcp_if_include: "10.9.0.0/24",
      oob_tcp_if_include: "10.9.0.0/24",
    };
    await use({
      prefix: ["sh", "-c", `${ENTER} "$@"`, "sh", HOSTS[0]],
      args: [
        ...["--hostfile", hostfile, "--map-by", "node"],
        ...Object.entries(settings).flatMap((setting) => ["--mca", ...setting]),
      ],
      async sentBytes() {
        const [link] = JSON.parse(
          await ip("-n", namespaceOf(HOSTS[1]), "-s", "-j", "link", "show", "seed1"),
        );
        return link.stats64.tx.bytes;
      },
      async setCable(state) {
        await ip("-n", namespaceOf(HOSTS[1]), "link", "set", "seed1", state);
      },
    });
  } finally {
    await remove();
    Deno.removeSync(folder, { recursive: true });
  }
}
