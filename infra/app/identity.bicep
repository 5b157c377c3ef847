// The app's identity as a separate resource. It keeps its rights, for example in Exchange, when the app is deleted.

import { resourceTags } from '../types.bicep'

@description('Name of the identity.')
param name string

@description('Region of the identity.')
param location string

param tags resourceTags

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

@description('The client id with which the app requests tokens.')
output clientId string = identity.properties.clientId

@description('The object id to which roles are assigned.')
output principalId string = identity.properties.principalId
