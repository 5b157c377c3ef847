// The function app on a Flex Consumption plan. Its settings are in settings.bicep: they come after the rights to the vault,
// which a system-assigned identity can only be given once the app is there.

param name string
param planName string
param location string
param tags object = {}

@description('The service\'s name in azure.yaml: azd finds the app to deploy to by it.')
param serviceName string

@description('The resource id of a user-assigned identity; empty: the app gets a system-assigned one, which ends with it.')
param identityId string

@description('The URL of the container that the package is deployed to.')
param packageUrl string

@description('MB of memory. 2048 has one core, which is what the numbers in docs/reference/host.md are for.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int

@description('Instances at most, all functions together. Each holds one connection a mailbox that it drains.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int

@description('Instances that are always there to answer HTTP.')
@minValue(0)
param alwaysReadyHttp int

@description('The subnet that its traffic goes through; empty: straight to the internet.')
param subnetId string

var userAssigned = !empty(identityId)

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  // checkov:skip=CKV_AZURE_225:what is lost in a zone is collected again by the next look; nothing of the app's is on its disks
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource site 'Microsoft.Web/sites@2024-04-01' = {
  // checkov:skip=CKV_AZURE_16:it has an identity, of either kind; the check does not see through the condition
  // checkov:skip=CKV_AZURE_17:Graph has no certificate to show; a notification is proven by its client state
  // checkov:skip=CKV_AZURE_78:Flex Consumption has no FTP, and refuses a site that says so
  // checkov:skip=CKV_AZURE_212:Flex Consumption has as many instances as there is work
  // checkov:skip=CKV_AZURE_213:Flex Consumption has no health check of that kind; the host looks after its instances
  // checkov:skip=CKV_AZURE_222:Graph sends its notifications over the internet
  name: name
  location: location
  tags: union(tags, {
    'azd-service-name': serviceName
  })
  kind: 'functionapp,linux'
  identity: {
    type: userAssigned ? 'UserAssigned' : 'SystemAssigned'
    userAssignedIdentities: userAssigned ? {
      '${identityId}': {}
    } : null
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    // Else references in the settings are read as the system-assigned identity, which there may not be.
    keyVaultReferenceIdentity: userAssigned ? identityId : 'SystemAssigned'
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    // Flex Consumption refuses a site that names ftpsState, linuxFxVersion and others of the other plans (error 51021).
    siteConfig: {
      minTlsVersion: '1.2'
      http20Enabled: true
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageUrl
          authentication: userAssigned ? {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          } : {
            type: 'SystemAssignedIdentity'
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReadyHttp == 0 ? [] : [
          {
            name: 'http'
            instanceCount: alwaysReadyHttp
          }
        ]
      }
    }
  }
}

// Both tools deploy with the caller's token.
resource noPasswords 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = [for way in ['ftp', 'scm']: {
  parent: site
  name: way
  properties: {
    allow: false
  }
}]

output name string = site.name
output hostName string = site.properties.defaultHostName

@description('The object id of the system-assigned identity; empty where there is none.')
output principalId string = userAssigned ? '' : site.identity.principalId
