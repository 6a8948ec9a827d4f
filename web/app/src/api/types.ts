/** Short names for the shapes of the API. Everything here comes from the OpenAPI document. */
import type { components } from './generated/schema';

type Schemas = components['schemas'];

export type ApiKey = Schemas['ApiKey'];
export type AuditEvent = Schemas['AuditEvent'];
export type Ceremony = Schemas['Ceremony'];
export type Cluster = Schemas['Cluster'];
export type ClusterState = Schemas['ClusterState'];
export type ClusterWitnesses = Schemas['ClusterWitnesses'];
export type Connection = Schemas['Connection'];
export type Credentials = Schemas['Credentials'];
export type DatabaseUser = Schemas['DatabaseUser'];
export type Me = Schemas['Me'];
export type Operation = Schemas['Operation'];
export type OperationState = Schemas['OperationState'];
export type Organisation = Schemas['Membership'];
export type Passkey = Schemas['Passkey'];
export type Problem = Schemas['Problem'];
export type Receipt = Schemas['Receipt'];
export type Role = Schemas['Role'];
export type Session = Schemas['Session'];
export type User = Schemas['User'];
export type WitnessedLog = Schemas['WitnessedLog'];
