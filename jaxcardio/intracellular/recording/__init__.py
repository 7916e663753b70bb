"""Recordings of many channels: readers of several layouts, and the own one."""

from .parts import Block as Block
from .parts import Event as Event
from .recording import Recording as Recording
from .writer import RecordingWriter as RecordingWriter
