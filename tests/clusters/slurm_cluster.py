"""A Slurm of three nodes on this machine: its own munged, slurmctld and slurmd, ended by their ids.

It installs nothing, needs no rights beyond those of whoever calls it, and touches no other Slurm.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

NEEDED = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'srun', 'squeue', 'scancel', 'scontrol')
NODES = ('one', 'two', 'three')
CPUS = 2  # of each node, whatever this machine has
CONFIG = """
ClusterName=made
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
CredType=cred/munge
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool-%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd-%n.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd-%n.log
SlurmctldPort={port}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MaxArraySize=1001
MaxJobCount=5000
ReturnToService=2
SlurmdTimeout={timeout}
KillWait=10
{nodes}
PartitionName=all Nodes={names} Default=YES MaxTime=INFINITE State=UP
"""
TIMEOUT = 10  # seconds after which a node that says nothing is down
PATIENCE = 120.0  # seconds for a daemon to begin


def missing() -> list[str]:
    """Return the programs that are not here."""
    folders = f'{os.environ["PATH"]}{os.pathsep}/usr/sbin{os.pathsep}/sbin'
    return [name for name in NEEDED if shutil.which(name, path=folders) is None]


class SlurmCluster:
    """The daemons, for the length of a ``with``; the folder is short-lived, and best a short path.

    Args:
        home: folder for all that Slurm writes.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.daemons: dict[str, subprocess.Popen] = {}
        self.before = dict(os.environ)

    def __enter__(self) -> 'SlurmCluster':
        self._write_config()
        os.environ['SLURM_CONF'] = str(self.home / 'slurm.conf')
        os.environ['PATH'] += f'{os.pathsep}/usr/sbin{os.pathsep}/sbin'
        try:
            self._start_munge()
            self._start('slurmctld', '-D', '-c')
            for node in NODES:
                self.start_node(node)
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in NODES:
            self.kill_node(node)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        os.environ.clear()
        os.environ.update(self.before)

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self._start(node, '-D', '-N', node, program='slurmd')

    def kill_node(self, node: str) -> None:
        """Kill a node's daemon and all that runs under it, as a loss of power does."""
        daemon = self.daemons.pop(node, None)
        if daemon is None:
            return
        for process in [daemon.pid, *self._processes(node)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        daemon.wait()

    def node_of(self, number: str) -> str:
        """Return the node that a job runs on; '' while it waits."""
        return self.ask('squeue', '--noheader', '--jobs', number, '--format', '%N')

    def ask(self, *command: str) -> str:
        """Run one of Slurm's commands."""
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def set_nodes(self, state: str, *nodes: str) -> None:
        """Let nodes be drained or down."""
        self.ask('scontrol', 'update', f'nodename={",".join(nodes)}', f'state={state}', 'reason=x')

    def restore(self) -> None:
        """Cancel all jobs, and have all nodes run again."""
        self.ask('scancel', '--user', self.ask('id', '-un'))
        for node in NODES:
            if node not in self.daemons:
                self.start_node(node)
        deadline = time.monotonic() + PATIENCE
        while states := {n: s for n, s in self.states().items() if s != 'idle'}:
            assert time.monotonic() < deadline, f'nodes are {states}'
            for node in [node for node, state in states.items() if state[:4] in ('drai', 'down')]:
                with contextlib.suppress(subprocess.CalledProcessError):  # it has just resumed
                    self.ask('scontrol', 'update', f'nodename={node}', 'state=resume')
            time.sleep(0.5)

    def states(self) -> dict[str, str]:
        """Return the states of all nodes; 'unknown' while Slurm does not answer."""
        try:
            lines = self.ask('sinfo', '--noheader', '--Node', '--format', '%N %T').splitlines()
        except subprocess.CalledProcessError:
            lines = []
        return dict.fromkeys(NODES, 'unknown') | dict(line.split() for line in lines)

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while set(self.states().values()) != {'idle'}:
            assert time.monotonic() < deadline, f'nodes are {self.states()}'
            time.sleep(0.5)

    def _processes(self, node: str) -> list[int]:
        """Return the processes of jobs on a node, those first that Slurm runs them under."""
        marks = {f'SLURMD_NODENAME={node}', f'SLURM_CONF={self.home}/slurm.conf'}
        steps, jobs = set(), []
        for place in Path('/proc').glob('[0-9]*'):
            with contextlib.suppress(OSError):
                if marks <= set((place / 'environ').read_text(errors='replace').split('\0')):
                    jobs.append(int(place.name))
                    parent = (place / 'stat').read_text().rpartition(')')[2].split()[1]
                    above = Path('/proc', parent, 'cmdline').read_text(errors='replace')
                    if above.startswith('slurmstepd'):
                        steps.add(int(parent))
        return [*steps, *jobs]

    def _write_config(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / 'state').mkdir()
        ports = free_ports(1 + len(NODES))
        host = socket.gethostname().partition('.')[0]
        nodes = '\n'.join(
            f'NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} '
            'RealMemory=2000 State=UNKNOWN'
            for node, port in zip(NODES, ports[1:], strict=True)
        )
        user = self.ask('id', '-un')
        facts = dict(host=host, user=user, home=self.home, port=ports[0], nodes=nodes)
        text = CONFIG.format(**facts, names=','.join(NODES), timeout=TIMEOUT)
        (self.home / 'slurm.conf').write_text(text)

    def _start_munge(self) -> None:
        key = self.home / 'munge.key'
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        names = {'socket': 'socket', 'pid-file': 'pid', 'log-file': 'log', 'seed-file': 'seed'}
        options = [f'--{option}={self.home}/munge.{end}' for option, end in names.items()]
        command = ['munged', '--foreground', '--force', f'--key-file={key}', *options]
        self._run('munged', command)
        _wait_for(self.home / 'munge.socket')

    def _start(self, name: str, *arguments: str, program: str = '') -> None:
        config = str(self.home / 'slurm.conf')
        self._run(name, [program or name, *arguments, '-f', config])

    def _run(self, name: str, command: list[str]) -> None:
        path = shutil.which(command[0])
        with (self.home / f'{name}.out').open('ab') as out:
            self.daemons[name] = subprocess.Popen(
                [path, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(('127.0.0.1', 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline, f'{path} did not appear'
        time.sleep(0.1)
