//! A question and its answer as the kernel programs hand them to the parser, over tables in memory. The fuzzer shares it.

use exeat_common::{
    abi::{NameValue, RuleValue, Workload, name_flag},
    dns::{
        Answer, Asked, MESSAGE_BUFFER_BYTES, MessageBytes, NameBuffer, Room, Transport, ask, hear,
    },
    flow::protocol,
    id::SubjectId,
    packet::Packet,
};

use crate::support::{POD, RESOLVER, World, address, workload};

pub(crate) const SITE: SubjectId = SubjectId::pattern(1, true, 3);
pub(crate) const WILD: SubjectId = SubjectId::pattern(2, false, 2);
pub(crate) const DEEP: SubjectId = SubjectId::pattern(3, false, 3);
pub(crate) const PORT: u16 = 4000;

/// What lies in a buffer behind the message: never zeros, as in a buffer that was used before.
const LEFT_OVER: u8 = 0x01;

/// `www.example.com`, `*.wild.example`, `*.deep.wild.example` (somebody else's), and the cluster.
pub(crate) fn world() -> World {
    let none = NameValue { exact: SubjectId::NONE, wildcard: SubjectId::NONE, flags: 0 };
    let mut world = World { generation: 1, ..World::default() };
    world.name("www.example.com", NameValue { exact: SITE, ..none });
    world.name("wild.example", NameValue { wildcard: WILD, ..none });
    world.name("deep.wild.example", NameValue { wildcard: DEEP, ..none });
    let cluster = name_flag::INTERNAL | name_flag::INTERNAL_BELOW;
    world.name("cluster.local", NameValue { flags: cluster, ..none });
    world.grant(SITE, 443, protocol::TCP, RuleValue::ALLOW);
    world.grant(WILD, 443, protocol::TCP, RuleValue::ALLOW);
    world
}

pub(crate) fn with_bytes<T>(bytes: &[u8], use_it: impl FnOnce(&MessageBytes<'_>) -> T) -> T {
    let mut buffer = [LEFT_OVER; MESSAGE_BUFFER_BYTES];
    buffer[..bytes.len()].copy_from_slice(bytes);
    use_it(&MessageBytes::new(&buffer, bytes.len()))
}

fn packet(transport: Transport, from: (&str, u16), to: (&str, u16)) -> Packet {
    let packet = Packet::udp((address(from.0), from.1), (address(to.0), to.1));
    Packet { protocol: transport.protocol(), ..packet }
}

/// The pod asks its resolver.
pub(crate) fn put(world: &World, workload: &Workload, bytes: &[u8]) -> Asked {
    put_over(Transport::Udp, world, workload, bytes, &mut NameBuffer::new())
}

/// The same over either transport, in a buffer that may have been used before.
pub(crate) fn put_over(
    transport: Transport,
    world: &World,
    workload: &Workload,
    bytes: &[u8],
    buffer: &mut NameBuffer,
) -> Asked {
    let packet = packet(transport, (POD, PORT), (RESOLVER, 53));
    with_bytes(bytes, |message| ask(workload, &packet, transport, message, buffer, world))
}

/// The pod is answered.
pub(crate) fn get(world: &World, bytes: &[u8]) -> Answer {
    get_from(world, RESOLVER, PORT, bytes)
}

pub(crate) fn get_from(world: &World, resolver: &str, port: u16, bytes: &[u8]) -> Answer {
    get_over(Transport::Udp, world, (resolver, port), bytes, &mut Room::new())
}

/// The same over either transport, in a room that may have been used before.
pub(crate) fn get_over(
    transport: Transport,
    world: &World,
    (resolver, port): (&str, u16),
    bytes: &[u8],
    room: &mut Room,
) -> Answer {
    let packet = packet(transport, (resolver, 53), (POD, port));
    with_bytes(bytes, |message| hear(&workload(), &packet, transport, message, room, world))
}
